#!/usr/bin/env bash
# PyTorch 2.13.0: a Dirichlet distribution whose concentration is small draws shares that are exactly even, where nearly
# all should go to one.
#
# Expected: the smaller the concentration, the more one-sided a draw: at 0.0001 one client of ten gets practically all of a
# class, in every draw.
# Seen: at 0.0001 every second draw gives each of ten clients 0.1, and seven of ten draws give each of five clients 0.2; at
# 0.001 it is one draw in 33 with five clients. The mean of the largest share of five falls from 0.97 to 0.44 between the
# two. All Gamma draws are below the smallest float then, are raised to it, and divided by their sum; nothing is told;
# float32 and float64 alike. NumPy's `Generator.dirichlet` has 1.00; the older `numpy.random.dirichlet` gives NaN as often.
#
#     bash findings/torch_dirichlet_draws_even_shares.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q torch==2.13.0 numpy==2.4.6
python - <<'PY'
import numpy as np
import torch

even, largest = {}, {}
for alpha, clients in ((0.001, 5), (0.0001, 5), (0.0001, 10)):
    torch.manual_seed(0)
    drawn = torch.distributions.Dirichlet(torch.full((clients,), alpha, dtype=torch.float64)).sample((20_000,))
    even[alpha, clients] = float(((drawn - 1 / clients).abs().amax(1) < 1e-6).double().mean())
    largest[alpha, clients] = float(drawn.amax(1).mean())
    other = np.random.default_rng(0).dirichlet([alpha] * clients, 20_000).max(1).mean()
    print(f"alpha {alpha}, {clients} clients: {even[alpha, clients]:.1%} of draws exactly even, largest share "
          f"{largest[alpha, clients]:.2f} in the mean (NumPy's Generator {other:.2f})")

same = even[0.0001, 10] > 0.4 and even[0.0001, 5] > 0.6 and 0.01 < even[0.001, 5] < 0.1
same &= largest[0.001, 5] > 0.9 > 0.5 > largest[0.0001, 5]
raise SystemExit(0 if same else "the behaviour has changed")
PY

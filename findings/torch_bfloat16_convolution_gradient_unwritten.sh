#!/usr/bin/env bash
# torch 2.13.0 on a CPU with AVX512-BF16: the bfloat16 weight gradient of a convolution holds what its memory held
# before, where the input is narrower than the stride.
#
# Expected: the gradient of float32 up to rounding; zero in kernel columns that meet padding only.
# Seen: under torch.autocast("cpu", torch.bfloat16) these columns are not written at all, in one and two dimensions, as
# soon as the last dimension of the input is less than the last stride (32 to 64 channels, kernel 3, stride 2, padding 1
# on 1 x 1); the height does not matter. Right: output, gradient of the input, float32, fewer than 16 input channels a
# group, inputs as wide as the stride, dilation. The kernel is oneDNN's jit_bf16:avx512_core_bf16, backward_weights
# (ONEDNN_VERBOSE=1). Freed memory is filled here (MALLOC_PERTURB_), so that it does not hold zeros by chance.
#
#     bash findings/torch_bfloat16_convolution_gradient_unwritten.sh        # exits with 1 when that has changed
#
# It depends on the processor: without avx512_bf16 it says so and exits with 2, and so with AMX, where oneDNN has other
# kernels that were not looked at.
set -euo pipefail
if ! grep -qw avx512_bf16 /proc/cpuinfo; then
    echo "not applicable: this processor has no avx512_bf16"
    exit 2
fi
if grep -qw amx_bf16 /proc/cpuinfo; then
    echo "not applicable: this processor has amx_bf16: not looked at"
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH" OMP_NUM_THREADS=1 MALLOC_PERTURB_=128
pip install -q torch==2.13.0 numpy
python - <<'PY'
import torch
from torch.nn import functional as F

torch.manual_seed(0)


def right(size):
    """[3, 3] whether each element of the kernel has the gradient of float32, within 5 % of the largest."""
    x, weight = torch.randn(16, 32, *size), torch.randn(64, 32, 3, 3).requires_grad_()
    y = F.conv2d(x, weight, None, 2, 1)
    slope = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, weight, slope)
    with torch.autocast("cpu", torch.bfloat16):
        y = F.conv2d(x, weight, None, 2, 1)
    (found,) = torch.autograd.grad(y, weight, slope.bfloat16())
    near = (found - expected).abs() <= 0.05 * expected.abs().max()  # false for NaN
    return near.flatten(0, 1).all(0)


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
wide = right((1, 2))
narrow = right((1, 1))
print("Conv2d, stride 2, on 1 x 2: right in all rows:", bool(wide.all()))
print("Conv2d, stride 2, on 1 x 1: right where the kernel meets the pixel:", bool(narrow[1, 1]))
print("Conv2d, stride 2, on 1 x 1: right where it meets padding only:", bool(narrow[1, 0] and narrow[1, 2]))
same = wide.all() and narrow[1, 1] and not narrow[1, [0, 2]].any()
raise SystemExit(0 if same else "the behaviour has changed")
PY

"""FedAvg: clients train the received model, the server averages the results by their numbers of samples.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data. AISTATS 2017, Algorithm 1. As is usual, buffers (running statistics of batch normalisation) are averaged too.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedlt.strategy import Strategy


@dataclass(frozen=True)
class FedAvg(Strategy):
    """Weighted averaging; the base class is written for it. The personal model is the generic one."""

"""A bag of embeddings: the mean of a text's token vectors, and a perceptron on it.

Joulin, Grave, Bojanowski, Mikolov: Bag of Tricks for Efficient Text Classification. EACL 2017 (fastText).

The order of the tokens does not count. fastText has no hidden layer (`depth=0`) and adds pairs of words, which a data
set brings as tokens of their own where it wants them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from torch import Tensor, nn

from fedlt.nn.text.encoder import Embedding, TokenEncoder, TokenModel, cleared


class BagEncoder(TokenEncoder):
    """Mean of the embeddings, then fully connected layers with ReLU of these sizes."""

    def __init__(self, embedding: Embedding, sizes: list[int]) -> None:
        super().__init__(embedding, sizes[-1], sizes[0])
        layers: list[nn.Module] = []
        for into, out in pairwise(sizes):
            layers += [nn.Linear(into, out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        return vectors

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        mean = cleared(states, mask).sum(1) / mask.sum(1, keepdim=True)
        return self.layers(mean)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class HashBag(TokenModel):
    """The mean of the tokens' embeddings, and fully connected layers on it: the cheapest model of texts."""

    hidden: Annotated[int, ">= 1"] = 128  # units of each hidden layer, and the feature dimension
    depth: Annotated[int, ">= 0"] = 1  # hidden layers; 0: the mean is the features

    def tokens(self, embedding: Embedding, length: int) -> TokenEncoder:
        return BagEncoder(embedding, [self.width, *[self.hidden] * self.depth])

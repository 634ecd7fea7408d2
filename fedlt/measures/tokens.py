"""The statistic of sequences of tags: confusion matrices over tokens."""

from __future__ import annotations

from dataclasses import replace

from fedlt.measures.confusion import Confusions
from fedlt.statistic import Predicted


class TokenConfusions(Confusions):
    """Every tagged token counts as one sample: accuracy is that over tokens, recall that of each tag."""

    def add(self, batch: Predicted) -> None:
        """Logits [B, L, C] and tags [B, L], of which those that are padding or unknown are left out."""
        tagged = batch.targets != self.task.target.unknown
        found = replace(batch.found, logits=batch.logits[tagged])
        super().add(replace(batch, found=found, targets=batch.targets[tagged]))

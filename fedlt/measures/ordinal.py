"""The statistic of classes whose order counts: how many steps predictions are from the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlt.measures.by_class import CountsByClass
from fedlt.statistic import Known, Predicted


class OrdinalError(CountsByClass):
    """Sums of |predicted class - true class|, by client and true class.

    Baccianella, Esuli, Sebastiani: Evaluation measures for ordinal regression. ISDA 2009: under a long tail the mean
    over classes of each class's mean error, since the mean over samples is decided by the head.
    """

    title = "the ordinal error"

    def of_each(self, batch: Predicted) -> NDArray[np.int64]:
        true = batch.targets.numpy(force=True)
        return np.abs(batch.logits.argmax(1).numpy(force=True) - true)[:, None]

    def figures(self, known: Known) -> dict[str, float]:
        """`mae`, the mean number of steps over the samples, and `macro_mae`, the mean over the classes; of personal
        models the means over clients.
        """
        found = [(steps.sum() / samples.sum(), (steps / samples).mean()) for _, samples, steps in self.by_client()]
        mae, macro = np.mean(found, axis=0).tolist() if found else (float("nan"),) * 2
        return {"mae": mae, "macro_mae": macro}

"""Training in bfloat16: PyTorch's autocast, without the convolutions whose gradients it gets wrong on a CPU.

On processors with AVX512-BF16, oneDNN leaves elements of a weight gradient unwritten where the input of a convolution
is narrower than its stride (`findings/torch_bfloat16_convolution_gradient_unwritten.sh`), and is wrong where it has
less depth than its kernel. What that memory holds is learnt, or ends the run as weights that are not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FORWARD = {F.conv1d, F.conv2d, F.conv3d}
TRANSPOSED = {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}  # their output is the input of a convolution


@contextmanager
def in_bfloat16(device: torch.device) -> Iterator[None]:
    """Within it, forward passes run in bfloat16; on a CPU, of any kind, convolutions as above run in float32."""
    with torch.autocast(device.type, torch.bfloat16):
        if device.type != "cpu":
            yield
        else:
            with _SmallConvolutionsInFloat32():
                yield


class _SmallConvolutionsInFloat32(TorchFunctionMode):
    """Sees the calls of functions, so that modules and functional calls are treated alike."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func not in FORWARD and func not in TRANSPOSED:
            return result

        x, weight, stride = _operands(*args, **kwargs)
        reduced = result.dtype == torch.bfloat16 and weight.dtype == torch.float32  # by autocast, not by the model
        if not reduced or not _is_small(result if func in TRANSPOSED else x, weight, stride):
            return result

        with torch.autocast("cpu", enabled=False):
            return func(*map(_float32, args), **{name: _float32(value) for name, value in kwargs.items()})


def _operands(input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, *_: Any, **__: Any) -> Any:
    """The input, the weight and the strides, however the call gives them."""
    return input, weight, stride


def _is_small(x: Tensor, weight: Tensor, stride: Any) -> bool:
    """Whether x [..., depth, height, width] (as many as the kernel has) is narrower than the last stride, or of less
    depth than the kernel of a convolution in three dimensions.
    """
    shallow = weight.dim() == 5 and x.shape[-3] < weight.shape[2]
    return shallow or x.shape[-1] < (stride if isinstance(stride, int) else stride[-1])


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value

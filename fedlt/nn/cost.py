"""How much arithmetic a model costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def multiply_adds(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiplications with weights in one forward pass of one sample, over linear and convolutional layers."""
    total = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        places = output[0, 0].numel() if isinstance(module, nn.Conv2d) else output.numel() // output.shape[-1]
        total += module.weight.numel() * places

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *input_shape, device=next(model.parameters()).device))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return total

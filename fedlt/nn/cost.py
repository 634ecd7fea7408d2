"""How much arithmetic a model costs."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNNBase)


def multiply_adds(model: nn.Module, inputs: InputKind) -> int:
    """Multiplications with weights in one pass of one sample, over linear, convolutional and recurrent layers.

    Args:
        model: is passed once, in evaluation mode, and is then as it was.
        inputs: whose example is passed: for sequences, one of full length.
    """
    total = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        """Add a layer's multiplications: its weights times the places at which it uses them."""
        nonlocal total
        if isinstance(module, nn.RNNBase):  # every weight is used in every step
            states: Any = output[0]  # a tensor, or what packed sequences are in
            steps = states.data.numel() // states.data.shape[-1]
            total += steps * sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
            return
        assert isinstance(module, LAYERS)
        places = output.numel() // output.shape[-1] if isinstance(module, nn.Linear) else output[0, 0].numel()
        weight: Any = module.weight
        total += weight.numel() * places

    layers = [module for module in model.modules() if isinstance(module, LAYERS)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(inputs.example(1).to(next(chain(model.parameters(), model.buffers())).device))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return total

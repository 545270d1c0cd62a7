"""What is checked before and after the model runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.utils import _pytree as pytree

from ..errors import InvalidInput
from .doubts import holds
from .recording import Value


def check_mode(model: Any) -> None:
    """Refuse a model whose dropout is active or whose batch norm would use batch statistics."""
    if not callable(model):
        raise InvalidInput(f"the model must be callable, got {type(model).__name__}")
    if not isinstance(model, nn.Module):
        return
    if not any(module.training or isinstance(module, LazyModuleMixin) for module in parts(model)):
        return
    for name, module in model.named_modules():
        for own, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and torch.nn.parameter.is_lazy(tensor):
                full = f"{name}.{own}" if name else own
                raise InvalidInput(f"{full} has no shape yet: run the lazy model once on data")
        if not module.training:
            continue
        if (isinstance(module, _DropoutNd) and module.p > 0) or isinstance(module, nn.RReLU):
            what = "its randomness is active"
        elif isinstance(module, _BatchNorm):
            what = "batch norm uses batch statistics"
        else:
            continue
        raise InvalidInput(
            f"the model is in training mode: {what} in {name or 'the model'!r} "
            f"({type(module).__name__}); call model.eval() first"
        )


def parts(model: nn.Module) -> list[nn.Module]:
    """The model and all modules in it, each once; quicker than `modules()`."""
    found, waiting = {model: None}, [model]
    while waiting:
        for part in waiting.pop()._modules.values():
            if part is not None and part not in found:
                found[part] = None
                waiting.append(part)
    return list(found)


def check_inputs(inputs: Any) -> None:
    """Refuse inputs that are no tensors, are empty, not finite, or disagree in the batch axis."""
    tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    if not tensors:
        raise InvalidInput(
            f"inputs must be a tensor, or a tuple or dict with tensors, got {type(inputs).__name__}"
        )
    for tensor in tensors:
        if not _is_plain(tensor):
            raise InvalidInput(
                "inputs must be dense real tensors with data, got "
                f"{tensor.dtype}, {tensor.layout} on {tensor.device}"
            )
        shape = tuple(tensor.shape)
        if tensor.ndim == 0 or tensor.numel() == 0:
            raise InvalidInput(
                f"inputs need a batch axis and at least one element, got shape {shape}"
            )
        if tensor.dtype.is_floating_point and not holds(torch.isfinite(tensor).all()):
            raise InvalidInput(f"the input of shape {shape} contains NaN or infinite values")


def select_output(result: Any) -> Tensor:
    """The tensor that a model returned: itself, or the field `logits`; an error names the
    fields.
    """
    if isinstance(result, Tensor):
        return result
    logits = (
        result.get("logits") if isinstance(result, Mapping) else getattr(result, "logits", None)
    )
    if isinstance(logits, Tensor):
        return logits
    if isinstance(result, Mapping):
        fields = ", ".join(map(str, result))
    elif hasattr(result, "_fields"):
        fields = ", ".join(result._fields)
    elif isinstance(result, (tuple, list)):
        fields = f"{len(result)} items"
    else:
        fields = ", ".join(name for name in vars(result)) if hasattr(result, "__dict__") else "none"
    raise InvalidInput(
        f"the model returned {type(result).__name__} with fields: {fields}; expected a tensor or "
        "an "
        "object with .logits. Pass a callable that returns the tensor to explain, for example "
        "lambda x: model(x)[0]"
    )


def check_batch(output: Value, inputs: list[Tensor]) -> None:
    """The first axis of output and inputs is the sample."""
    for tensor in inputs:
        if output.ndim == 0 or tensor.shape[0] != output.shape[0]:
            raise InvalidInput(
                "the first axis must be the sample in inputs and output alike: input "
                f"{tuple(tensor.shape)}, output {tuple(output.shape)}"
            )


def _is_plain(tensor: Tensor) -> bool:
    dense = tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_quantized)
    wide = not tensor.dtype.is_floating_point or tensor.dtype.itemsize > 1
    return dense and wide and not tensor.dtype.is_complex and tensor.device.type != "meta"

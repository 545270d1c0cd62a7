"""A model from what the command line says: a name, a factory of the user's, an exported program."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from relprop import models
from relprop.app.exported import load_exported
from relprop.errors import InvalidInput

_SAFE = "safetensors.torch.save_model(model, 'weights.safetensors')"
_REFUSED = {
    **dict.fromkeys(
        (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib"),
        "a pickle can run any code while it is loaded. Name the function that builds the model, "
        f"--model package.module:factory, and give its weights, saved by {_SAFE}, with --weights",
    ),
    **dict.fromkeys(
        (".h5", ".keras", ".onnx", ".tflite", ".mlmodel"),
        "only PyTorch models are explained here. Rebuild it in torch, and name the function that "
        "does: --model package.module:factory",
    ),
    ".skops": "it holds a scikit-learn model, which relprop explain takes, and relprop.explain in "
    "Python; here only networks are understood",
    ".safetensors": "it holds weights without the model. Give it with --weights, and a name or "
    "package.module:factory with --model",
}


def load_model(
    source: str, *, weights: Path | None = None, random_weights: bool = False
) -> nn.Module:
    """The model in evaluation mode.

    `source` is a shipped model's name, `package.module:factory` (importable, also from the current
    folder), or a .pt2 file. `weights` are a .safetensors or torch file with a state dict.
    Raises InvalidInput where it can't be had, or where loading it could run code from a file.
    """
    if weights is not None and random_weights:
        raise InvalidInput("--weights and --random-weights exclude each other")
    path = Path(source)
    if source in models.names():
        if not (random_weights or weights or source in models.names(pretrained=True)):
            raise InvalidInput(
                f"{source} comes without trained weights: give yours with --weights FILE, or try "
                "the architecture with --random-weights"
            )
        model = models.load(source, pretrained=not (random_weights or weights is not None))
    elif path.suffix == ".pt2":
        if weights is not None or random_weights:
            raise InvalidInput(f"{source} has its weights inside: leave --weights out")
        model = load_exported(path)
    elif path.suffix.lower() in _REFUSED:
        raise InvalidInput(f"{source} is not loaded: {_REFUSED[path.suffix.lower()]}")
    elif ":" in source:
        model = _built(source)
    else:
        raise InvalidInput(
            f"there is no model {source!r}: give one of {', '.join(models.names())}; "
            "package.module:factory; or a file .pt2 made by torch.export.save"
        )
    if weights is not None:
        _set_weights(model, weights)
    return model


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a .safetensors file or in a torch file that holds nothing but tensors.

    Raises InvalidInput for files that are missing, damaged, or hold more than that.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise InvalidInput(f"{path} is not a safetensors file: {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise InvalidInput(
            f"{path} is not a torch file of tensors only, and anything else can run code while it "
            f"is loaded. Where you trust it, load it in Python and save {_SAFE}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # what Lightning and many training scripts write
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InvalidInput(f"{path} holds no state dict (names and tensors); save {_SAFE}")
    return state


def _built(source: str) -> nn.Module:
    module_name, _, attribute = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a module in the current folder
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there, and misses something itself
        raise InvalidInput(
            f"--model {source}: there is no module {module_name}; it must be installed, or lie in "
            "the current folder"
        ) from error
    factory: Any = getattr(module, attribute, None)
    if not callable(factory):
        raise InvalidInput(f"--model {source}: {module_name} has no function or class {attribute}")
    model = factory if isinstance(factory, nn.Module) else factory()
    if not isinstance(model, nn.Module):
        raise InvalidInput(
            f"--model {source}: it returned {type(model).__name__}, not a torch.nn.Module"
        )
    return model.eval()


def _set_weights(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(read_state(path))
    except RuntimeError as error:
        lines = str(error).splitlines()
        more = f" ... and {len(lines) - 4} more" if len(lines) > 4 else ""
        text = " ".join(line.strip() for line in lines[:4])
        raise InvalidInput(f"{path} does not fit {type(model).__name__}: {text}{more}") from error

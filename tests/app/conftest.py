from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from relprop.app.cli import main


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def relprop_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs the command line in an empty folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small colour image with some structure, in the folder that commands run in."""
    rows, columns = np.mgrid[:40, :50]
    pixels = np.stack([rows * 6, columns * 5, (rows + columns) * 2], axis=-1).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def own_model(tmp_path: Path) -> str:
    """The name of a factory of the user's, in a module in the folder that commands run in."""
    source = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)
    return nn.Sequential(*layers)

def raises():
    raise ValueError("boom")

def sorts():
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.cumprod(x.flatten(1), 1)
    return Sorts()

def text():
    return "no model"

number = 3
"""
    name = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(source)
    return name

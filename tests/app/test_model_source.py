import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from relprop.app.exported import load_exported
from relprop.app.model_source import load_model, read_state
from relprop.errors import InvalidInput


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def fuse(tmp_path):
    return tmp_path / "exploded"


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "m.pt2"
    dynamic = ({0: torch.export.Dim("n")},)
    exported = torch.export.export(network(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=dynamic)
    torch.export.save(exported, path)
    return path


def rewritten(path, change, add=()):
    """The archive with `change(name, content)` applied to its members, and some more."""
    target = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        names = old.namelist()
        root = names[0].split("/")[0]
        for name in names:
            new.writestr(name, change(name, old.read(name)))
        for name, content in add:
            new.writestr(f"{root}/{name}", content)
    return target


@pytest.mark.parametrize(
    "name", ["m.pt", "m.pth", "m.pkl", "m.pickle", "m.bin", "m.joblib", "M.CKPT"]
)
def test_pickled_models_are_not_opened(tmp_path, fuse, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(fuse)))
    with pytest.raises(InvalidInput, match="a pickle can run any code .* --model package.module:"):
        load_model(str(tmp_path / name))
    assert not fuse.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("m.onnx", "only PyTorch models"), ("m.safetensors", "it holds weights without the model")],
)
def test_other_files_are_told_what_to_do(name, message):
    with pytest.raises(InvalidInput, match=message):
        load_model(name)


def test_weights_that_are_more_than_tensors_are_refused(tmp_path, fuse):
    torch.save({"a": torch.ones(2), "b": Bomb(fuse)}, tmp_path / "w.pt")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Bomb(fuse)))
    torch.save(network(), tmp_path / "model.pt")
    torch.jit.trace(network(), torch.zeros(1, 3, 8, 8)).save(tmp_path / "script.pt")
    for name in ("w.pt", "w.pkl", "model.pt", "script.pt"):
        with pytest.raises(InvalidInput, match=f"{name} is not a torch file of tensors only"):
            read_state(tmp_path / name)
    assert not fuse.exists()
    torch.save({"a": 3}, tmp_path / "numbers.pt")
    with pytest.raises(InvalidInput, match="holds no state dict"):
        read_state(tmp_path / "numbers.pt")


def test_an_exported_program_says_the_same(program):
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(load_exported(program)(x), network()(x))
    with pytest.raises(InvalidInput, match="has its weights inside: leave --weights out"):
        load_model(str(program), weights=Path("w.safetensors"))


def test_an_unchanged_copy_loads(program):
    load_exported(rewritten(program, lambda name, content: content))


def test_files_that_are_no_programs(tmp_path):
    (tmp_path / "m.pt2").write_text("text")
    with pytest.raises(InvalidInput, match="not an exported program: write it with torch.export"):
        load_exported(tmp_path / "m.pt2")


def test_pickles_in_a_program_are_refused(program, fuse, tmp_path):
    torch.save((Bomb(fuse),), tmp_path / "bomb.pt")
    bomb = (tmp_path / "bomb.pt").read_bytes()

    def inputs(name, content):
        return bomb if "sample_inputs" in name else content

    def weight(name, content):
        if name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        return bomb if name.endswith("weight_0") else content

    for change in (inputs, weight):
        with pytest.raises(InvalidInput, match="holds a pickle of more than tensors, and loading"):
            load_exported(rewritten(program, change))
    assert not fuse.exists()


def test_objects_libraries_and_doubles_are_refused(program, fuse):
    def keep(name, content):
        return content

    def objects(name, content):
        if not name.endswith("constants_config.json"):
            return content
        return json.dumps({"config": {"x": {"path_name": "opaque_obj_0"}}}).encode()

    add = [("data/constants/opaque_obj_0", pickle.dumps(Bomb(fuse)))]
    with pytest.raises(InvalidInput, match="holds the object 'opaque_obj_0'"):
        load_exported(rewritten(program, objects, add))
    with pytest.raises(InvalidInput, match="model.so holds neither tensors nor a graph"):
        load_exported(rewritten(program, keep, [("data/aotinductor/model/model.so", b"")]))
    with pytest.raises(InvalidInput, match="holds the same name twice"):
        load_exported(rewritten(program, keep, [("models/MODEL.json", b"{}")]))
    assert not fuse.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("torch.ops.aten.relu.default", "os.system", "a call of 'os.system'"),
        (
            "Symbol('s77', positive=True, integer=True)",
            "__import__('os').getcwd()",
            "the expression",
        ),
        ("Symbol('s77', positive=True, integer=True)", "exec(chr(49))", "the expression"),
    ],
)
def test_code_in_a_graph_is_refused(program, old, new, message):
    def change(name, content):
        if not name.endswith("models/model.json"):
            return content
        text = content.decode()
        symbol = text.split("Symbol('")[1].split("'")[0]
        wanted = old.replace("s77", symbol)
        assert wanted in text
        return text.replace(wanted, new).encode()

    with pytest.raises(InvalidInput, match=f"{message}.*loading it could run code"):
        load_exported(rewritten(program, change))


def test_a_module_that_misses_another_says_which(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("needs_more.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        load_model("needs_more:make")
    shutil.rmtree("__pycache__", ignore_errors=True)

import builtins
import subprocess
import sys

import pytest
import torch

import relprop
from relprop import models
from relprop.app.cli import main
from relprop.errors import InvalidInput

RUN = [sys.executable, "-c", "from relprop.app.cli import main; main()"]


def test_a_process_ends_as_it_says(tmp_path):
    """Without pytest's help: exit code, empty output, one line of error, no traceback."""
    command = [*RUN, "explain", "--model", "lenet5", "--image", "gone.png"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr == "relprop: error: there is no image gone.png\n"


@pytest.mark.parametrize("place", [0, 5])
def test_debug_shows_where_it_happened(place):
    arguments = ["explain", "--model", "lenet5", "--image", "gone.png"]
    arguments.insert(place, "--debug")
    with pytest.raises(InvalidInput, match="there is no image gone.png"):
        main(arguments)


def test_help_names_every_command(relprop_command):
    ended = relprop_command("--help")
    assert ended.code == 0
    for command in ("demo", "explain", "evaluate", "tune", "coverage", "rules", "--debug"):
        assert command in ended.out


def test_version(relprop_command):
    ended = relprop_command("--version")
    assert ended.code == 0 and ended.out == f"relprop {relprop.__version__}\n"


def test_rules_are_listed_with_what_they_are(relprop_command):
    ended = relprop_command("rules")
    assert ended.code == 0
    lines = dict(
        line.strip().split(maxsplit=1) for line in ended.out.splitlines() if line[:1] == " "
    )
    for name, preset in relprop.presets().items():
        assert lines[name] == preset.description
    assert lines["Flat"] == relprop.Flat.__doc__.splitlines()[0]
    assert {"AlphaBeta", "Box", "Epsilon", "Gamma", "WSquare", "ZPlus"} <= set(lines)
    assert "Rule" not in lines


def test_coverage_is_the_plan(relprop_command):
    ended = relprop_command("coverage", "--model", "lenet5", "--rules", "epsilon")
    explainer = relprop.Explainer(models.load("lenet5"), "epsilon")
    assert ended.code == 0
    assert ended.out == f"{explainer.coverage(torch.zeros(1, 1, 32, 32))}\n"


def test_coverage_of_a_preset_file(relprop_command, tmp_path):
    relprop.Preset([(relprop.where(), relprop.Gamma(0.3))], name="mine").save(tmp_path / "m.json")
    ended = relprop_command("coverage", "--model", "lenet5", "--rules", "m.json")
    assert ended.code == 0, ended.err
    assert "Gamma(gamma=0.3)" in ended.out and "preset mine" in ended.out


def test_coverage_of_own_models_needs_a_shape(relprop_command, own_model):
    ended = relprop_command("coverage", "--model", f"{own_model}:make")
    assert ended.code == 1 and "give --input-shape, such as 3,224,224" in ended.err
    ended = relprop_command("coverage", "--model", f"{own_model}:make", "--input-shape", "3,8,8")
    assert ended.code == 0 and "0 refused" in ended.out


def test_coverage_with_something_refused_is_exit_code_1(relprop_command, own_model):
    ended = relprop_command("coverage", "--model", f"{own_model}:sorts", "--input-shape", "3,8,8")
    assert ended.code == 1
    assert "refused: " in ended.out and "1 refused" in ended.out


def test_relprops_warnings_are_a_line(relprop_command, photo):
    ended = relprop_command(
        *("explain", "--model", "lenet5", "--image", photo, "--rules", "alpha2beta1"),
        *("--target", "all"),
    )
    assert ended.code == 0
    assert "relprop: warning: an AlphaBeta or ZPlus rule at the top" in ended.err
    assert "RelpropWarning" not in ended.err and ".py" not in ended.err


def test_without_typer_the_error_names_the_extra(monkeypatch, capsys):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "typer":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(SystemExit) as ended:
        main(["rules"])
    assert ended.value.code == 1
    assert "pip install 'relprop[cli]'" in capsys.readouterr().err

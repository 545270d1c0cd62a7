"""The repository keeps its own rules: direction of imports, light import, packaging, pins."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "relprop"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# `app` is the program on top of everything, and the only room that may use the front door.
ROOMS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
FRONT_DOOR = {"relprop", "relprop.explain", "relprop.explainer"}
ENGINES = {"propagation", "methods"}
EQUAL_CITIZENS = {"evaluation", "spray", "viz"}
HEAVY = {
    *("matplotlib", "PIL", "pandas", "transformers", "typer", "rich", "yaml", "skimage"),
    *("scipy", "sklearn", "ray", "zarr", "fastapi", "torchvision"),
}


def imported(source: str, package: str) -> set[str]:
    """Modules that a file imports, at any depth; its relative imports start at `package`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            found |= {f"{base}.{alias.name}" for alias in node.names} if base else set()
            found |= {base} if node.module else set()
    return found


def wrong_imports(room: str, source: str, package: str) -> set[str]:
    """What a file of this room imports and must not."""
    modules = imported(source, package)
    if room == "app":
        return set()
    wrong = {name for name in modules if name in FRONT_DOOR or name.startswith("relprop.explain.")}
    wrong |= {name for name in modules if name.split(".")[:2] == ["relprop", "app"]}
    if room in EQUAL_CITIZENS:
        wrong |= {name for name in modules if name.split(".")[1:2] in [[e] for e in ENGINES]}
    return wrong


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    for path in sorted((SOURCE / room).rglob("*.py")):
        package = ".".join(path.relative_to(SOURCE.parent).parent.parts)
        wrong = wrong_imports(room, path.read_text(), package)
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("propagation", "from ..explain import explain"),
        ("propagation", "def f():\n    from .. import explain"),
        ("data", "import relprop"),
        ("models", "from relprop.explainer import Explainer"),
        ("viz", "from ..propagation.rules import Epsilon"),
        ("evaluation", "from relprop import methods"),
        ("store", "from ..app.cli import main"),
    ],
)
def test_a_wrong_import_is_seen(room: str, source: str) -> None:
    assert wrong_imports(room, source, f"relprop.{room}")


def test_a_right_import_is_let_through() -> None:
    source = "import torch\nfrom ..errors import InvalidInput\nfrom .colours import MAPS"
    assert not wrong_imports("viz", source, "relprop.viz")


def test_import_is_light() -> None:
    """Under a second beyond torch's own import, and nothing heavy comes along."""
    code = (
        "import json, sys, time, torch, numpy; before = set(sys.modules);"
        "start = time.perf_counter(); import relprop; seconds = time.perf_counter() - start;"
        "print(json.dumps([seconds, sorted({m.split('.')[0] for m in set(sys.modules) - before})]))"
    )
    runs = []
    for _ in range(3):  # the least disturbed of three
        printed = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout
        runs.append(json.loads(printed))
    seconds, packages = min(runs)
    assert "relprop" in packages
    assert not HEAVY & set(packages)
    assert seconds < 1


def test_version_is_the_same_everywhere() -> None:
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"] == version("relprop")


def test_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="relprop")
    assert command.value == "relprop.app.cli:main"
    assert callable(command.load())


def test_ci_runs_what_everybody_runs() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.strip()]
    commands = [line for line in lines if not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec make test"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in found), found
    return dict(line.split("==") for line in found)


def test_torch_is_pinned_first() -> None:
    assert next(iter(pins().items())) == ("torch", "2.13.0")


def test_everything_that_make_installs_is_pinned() -> None:
    pinned = {name.lower().replace("_", "-") for name in pins()}
    extras = PROJECT["optional-dependencies"]
    wanted = list(PROJECT["dependencies"])
    for extra in ("viz", "cli", "demo", "docs", "dev"):
        wanted += [need for need in extras[extra] if not need.startswith("relprop[")]
    names = {re.split(r"[\[<>=! ]", need)[0].lower() for need in wanted}
    assert names - pinned == set()


def own_files() -> list[Path]:
    """Files that were written for this repository, as far as they are text."""
    folders = ("src", "tests", "docs", "bench", "studies", ".ci")
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in folders:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = {".py", ".md", ".txt", ".toml", ".yml", ".yaml", ".html", ".css", ".js", ".json", ""}
    skipped = {"__pycache__", "relprop.egg-info"}
    return [p for p in found if p.suffix in texts and not skipped & set(p.parts)]


def test_nothing_names_a_machine_or_a_package_index() -> None:
    """Absolute paths of somebody's machine and hosts of package indexes stay out."""
    names = "|".join(["root", "home", "work", "opt", "mnt", "Users"])
    machine = re.compile(rf"(?<![\w.\-/<*])/({names})/[\w.]")
    registry = r"(?<!\w\.)registry\.[a-z]+"  # a module may be called so
    index = re.compile("|".join(["python" + "hosted", registry, r"-index" + "-url"]))
    assert machine.search("see /" + "home/me") and index.search("https://registry." + "example")
    for path in own_files():
        if path.name == "LICENSE":
            continue
        text = path.read_text(errors="replace")
        for pattern in (machine, index):
            hit = pattern.search(text)
            assert hit is None, f"{path.relative_to(ROOT)} names {hit[0]!r}"


def test_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(blocks) == 1
    assert len(blocks[0].strip().splitlines()) <= 12
    names: dict[str, object] = {}
    exec(compile(blocks[0], "README.md", "exec"), names)
    assert list(tmp_path.glob("*.png")), "the example writes its picture"


def test_wheel_has_what_the_package_reads(tmp_path: Path) -> None:
    """Weights, digits, class names and the type marker are in the wheel; tests are not."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(copy)], check=True)
    (wheel,) = tmp_path.glob("relprop-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.endswith(".safetensors") for name in wanted)
    assert wanted - packed == set()
    assert not any(name.startswith(("tests/", "bench/", "studies/")) for name in packed)

"""Every Python block of the documentation runs; the reference names all that is public."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import relprop
from relprop.propagation.operations import registry
from relprop.viz import colours

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(path for path in DOCS.rglob("*.md") if FENCE.search(path.read_text()))


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder to write to, and what a page registers is taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(colours, "_MAPS", dict(colours._MAPS))
    handlers = dict(registry.HANDLERS)
    yield
    registry.HANDLERS.clear()
    registry.HANDLERS.update(handlers)


def at_its_line(page: str, match: re.Match[str]) -> str:
    """A block with its distance from the top of the page, so that errors name the page's line."""
    return "\n" * page[: match.start(1)].count("\n") + match[1]


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_page_runs(path: Path) -> None:
    """The blocks of a page run one after another, in one namespace, as a reader would type them."""
    torch.manual_seed(0)
    page = path.read_text()
    names: dict[str, object] = {"__name__": "page"}
    for match in FENCE.finditer(page):
        exec(compile(at_its_line(page, match), str(path), "exec"), names)


def test_there_are_pages() -> None:
    assert {"tutorial.md", "index.md"} <= {path.name for path in PAGES}
    assert len([path for path in PAGES if path.parent.name == "how-to"]) == 11


def test_reference_has_every_public_name() -> None:
    reference = (DOCS / "reference.md").read_text()
    rooms = r"(?:explain\.|explainer\.|comparing\.|tuning\.)?"
    listed = set(re.findall(rf"^::: relprop\.{rooms}(\S+)$", reference, re.M))
    assert {*relprop.__all__, "evaluate", "tune"} - {"__version__"} <= listed


def test_no_page_needs_the_network() -> None:
    """Pictures are in the repository, so that the pages are whole without a network."""
    for path in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())
        for picture in pictures:
            assert (path.parent / picture).exists(), f"{path.name} shows {picture}"

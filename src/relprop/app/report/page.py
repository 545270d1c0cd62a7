"""The page around the pieces: one file, styles inline, no script, light and dark."""

from __future__ import annotations

from pathlib import Path

from relprop.app.report.parts import joined, text

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6470; --line: #d9dee4; --page: #fff;
  --panel: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa4af; --line: #343b43; --page: #14171a; --panel: #1e2327; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 2.8rem 0 .6rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; }
p, ul { max-width: 46rem; margin: .5rem 0; }
figure { margin: 0; min-width: 0; }
figure.wide { margin: 1rem 0; overflow-x: auto; }
img { display: block; max-width: 100%; height: auto; background: #fff; }
.columns img { width: 100%; }
figcaption { color: var(--soft); font-size: .85rem; line-height: 1.35; margin-top: .3rem; }
.columns { display: grid; gap: .8rem; margin: .6rem 0 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(145px, 1fr)); }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem .9rem; overflow-x: auto; font-size: .85rem; line-height: 1.5; }
"""


def page(title: str, *parts: str) -> str:
    """A whole HTML document of these parts, as `relprop.app.report.parts` makes them."""
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{text(title)}</h1>\n{joined(parts)}\n</main></body></html>\n"
    )


def write_page(path: Path, title: str, *parts: str) -> Path:
    """Writes a page that needs no other file, and returns its path; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(title, *parts), encoding="utf-8")
    return path

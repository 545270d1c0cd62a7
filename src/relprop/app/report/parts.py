"""Pieces of a page. Every one takes plain text, which it escapes, or `Html`, which it keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from relprop.viz.notebook import data_uri
from relprop.viz.pictures import Picture, png


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(content: str) -> Html:
    """The content as HTML: escaped, unless it is `Html`."""
    return content if isinstance(content, Html) else Html(escape(content))


def joined(parts: Iterable[str]) -> Html:
    """Parts one after another."""
    return Html("\n".join(text(part) for part in parts))


def heading(content: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{text(content)}</h3>")


def paragraph(content: str) -> Html:
    """A paragraph of text."""
    return Html(f"<p>{text(content)}</p>")


def code(content: str) -> Html:
    """Lines of code or of a terminal."""
    return Html(f"<pre><code>{text(content)}</code></pre>")


def items(contents: Iterable[str]) -> Html:
    """A list."""
    return Html("<ul>" + "".join(f"<li>{text(content)}</li>" for content in contents) + "</ul>")


def figure(picture: Picture, caption: str, *, wide: bool = False) -> Html:
    """A picture, uint8 `[H, W, 3]`, with a caption below; `wide` ones fill the column."""
    height, width = picture.shape[:2]
    source = data_uri(png(picture))
    image = f'<img src="{source}" alt="{text(caption)}" width="{width}" height="{height}">'
    kind = ' class="wide"' if wide else ""
    return Html(f"<figure{kind}>{image}<figcaption>{text(caption)}</figcaption></figure>")


def columns(parts: Iterable[str]) -> Html:
    """Parts side by side, as many as the window is wide enough for."""
    return Html(f'<div class="columns">{joined(parts)}</div>')


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table; columns of numbers are set to the right."""
    contents = [list(row) for row in rows]
    numeric = [all(map(_is_number, column)) for column in zip(*contents, strict=True)]
    kinds = [' class="number"' if kind else "" for kind in numeric or [False] * len(headers)]
    head = _row("th", headers, kinds)
    body = "".join(_row("td", row, kinds) for row in contents)
    return Html(
        f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
    )


def section(title: str, *parts: str) -> Html:
    """A titled part of the page."""
    return Html(f"<section><h2>{text(title)}</h2>{joined(parts)}</section>")


def _row(cell: str, contents: Sequence[str], kinds: Sequence[str]) -> str:
    cells = zip(contents, kinds, strict=True)
    return f"<tr>{''.join(f'<{cell}{kind}>{text(c)}</{cell}>' for c, kind in cells)}</tr>"


def _is_number(content: str) -> bool:
    try:
        float(content)
    except ValueError:
        return False
    return True

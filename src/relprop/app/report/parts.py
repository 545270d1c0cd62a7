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
    """A table; cells that read as numbers are set to the right."""
    head = "".join(f"<th>{text(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return Html(
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(title: str, *parts: str) -> Html:
    """A titled part of the page."""
    return Html(f"<section><h2>{text(title)}</h2>{joined(parts)}</section>")


def _cell(content: str) -> str:
    number = content.replace("−", "-").replace(" s", "")
    try:
        float(number)
    except ValueError:
        return f"<td>{text(content)}</td>"
    return f'<td class="number">{text(content)}</td>'

import re
from html.parser import HTMLParser

import numpy as np

from relprop.app.report import (
    Html,
    code,
    columns,
    figure,
    heading,
    items,
    paragraph,
    section,
    table,
    write_page,
)
from relprop.app.report.page import page

NASTY = "<script>alert('x')</script> & \"quoted\""
PICTURE = np.zeros((2, 3, 3), np.uint8)
EMPTY = {"meta", "img", "!doctype"}


class Tags(HTMLParser):
    """Checks that tags are closed in order, and collects them."""

    def __init__(self, content):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def everything(text):
    return page(
        text,
        section(
            text,
            heading(text),
            paragraph(text),
            code(text),
            items([text]),
            columns([figure(PICTURE, text), text]),
            figure(PICTURE, text, wide=True),
            table([text, "b"], [[text, "1.5"], [text, "-2e-07"]]),
        ),
    )


def test_every_piece_escapes_its_text():
    tags = Tags(everything(NASTY))
    assert "script" not in tags.seen
    assert everything(NASTY).count("&lt;script&gt;") == everything("plain").count("plain")
    assert ("alt", NASTY) in tags.attributes


def test_html_is_not_escaped_twice():
    assert paragraph(Html("<em>a</em>")) == "<p><em>a</em></p>"
    assert (
        section("t", Html("<p>a</p>"), "<b>") == "<section><h2>t</h2><p>a</p>\n&lt;b&gt;</section>"
    )


def test_a_page_needs_no_other_file(tmp_path):
    path = write_page(tmp_path / "new" / "r.html", "Title", figure(PICTURE, "black"))
    content = path.read_text(encoding="utf-8")
    tags = Tags(content)
    addresses = [value for name, value in tags.attributes if name in ("src", "href")]
    assert addresses and all(value.startswith("data:image/png;base64,") for value in addresses)
    assert "link" not in tags.seen and "script" not in tags.seen
    assert not re.search(r"url\(|@import|https?://", content)
    assert "prefers-color-scheme: dark" in content and "width=device-width" in content
    assert content.startswith("<!doctype html>") and "<title>Title</title>" in content


def test_columns_of_numbers_are_set_to_the_right():
    found = table(["name", "value"], [["1", "2.5"], ["b", "-1e-07"]])
    assert found.count('<td class="number">') == 2 and '<th class="number">value</th>' in found
    assert "<th>name</th>" in found and table(["a"], []).count("<td") == 0


def test_pictures_have_their_size_and_a_text():
    found = figure(PICTURE, "black")
    assert 'width="3" height="2"' in found and 'alt="black"' in found

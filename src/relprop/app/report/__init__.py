"""Reports: one HTML file with its pictures inside."""

from relprop.app.report.page import write_page
from relprop.app.report.parts import (
    Html,
    code,
    columns,
    figure,
    heading,
    items,
    joined,
    paragraph,
    section,
    table,
)

__all__ = [
    "Html",
    "code",
    "columns",
    "figure",
    "heading",
    "items",
    "joined",
    "paragraph",
    "section",
    "table",
    "write_page",
]

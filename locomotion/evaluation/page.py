"""The pieces of an HTML page that explains itself: text is escaped here and nowhere else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from locomotion.evaluation.documents import is_number
from locomotion.files import write_atomically, writing

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1060px;margin:2em auto;padding:0 1em;color:#1d232b;background:#fff}
h1{font-size:1.6em;margin-bottom:0}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #d7dce2;padding-bottom:.2em}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #e6e9ed}
td:first-child,th:first-child,td.text{text-align:left}code,pre{background:#f3f5f7;border-radius:4px;padding:.1em .3em;font-size:.9em}
pre{padding:.8em;overflow-x:auto}img,video{max-width:100%}.note{color:#5b6570;font-size:.92em}.bad{color:#b3261e}.good{color:#1b7f3b}
"""
Cell = str | tuple[str, str]  # text, or text and its class


def text(value: object) -> str:
    """``value`` for a page."""
    return html.escape(str(value))


def note(value: object) -> str:
    return f"<p class=note>{text(value)}</p>"


def section(title: str, *parts: str) -> str:
    return f"<h2>{text(title)}</h2>" + "".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table of texts; a cell with a class is "good", "bad", or "text" for prose."""

    def cell(value: Cell) -> str:
        content, kind = value if isinstance(value, tuple) else (value, "")
        return f'<td class="{kind}">{text(content)}</td>' if kind else f"<td>{text(content)}</td>"

    body = "".join("<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{text(name)}</th>" for name in head) + f"</tr>{body}</table>"


def number(value: Any, digits: int = 2, scale: float = 1.0) -> str:
    """A figure, or a dash where there is none."""
    return f"{scale * value:.{digits}f}" if is_number(value) else "–"


def picture(figure: Any, alternative: str) -> str:
    """A matplotlib figure, inside the page."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return f'<p><img alt="{text(alternative)}" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"></p>'


def write(path: Path, title: str, body: str, field: str) -> Path:
    """Write a whole page or nothing. Raises InputError where ``path`` cannot be written."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{text(title)}</title><style>{STYLE}</style>"
    page = f"{head}<h1>{text(title)}</h1>{body}".encode(errors="replace")  # JSON may hold halves of characters
    with writing(field, path):
        write_atomically(path, lambda stream: stream.write(page))
    return path

"""Pieces of HTML: text that is safe, tables that can be sorted, pictures inside the page."""

from __future__ import annotations

import base64
import html
import math
from importlib.resources import files

import numpy as np
import pandas

WORDS = 24  # characters from which text is a column of its own width


def text(value) -> str:
    """`value` as text of a page."""
    return html.escape(str(value))


def asset(name: str) -> str:
    """Text of a file of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def document(title: str, body: str, scripts: str = "") -> str:
    """A page that loads nothing from anywhere."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    style = asset("style.css")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n{body}\n{scripts}</body>\n</html>\n"
    )


def script(code: str) -> str:
    """Code of this package as an element."""
    return f"<script>\n{code}</script>\n"


def data(identifier: str, json_text: str) -> str:
    """JSON as an element that a script reads; nothing in it can end the element."""
    safe = json_text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{identifier}">{safe}</script>\n'


def picture(content: bytes, kind: str, alternative: str, width: float | None = None) -> str:
    """An image inside the page; kind is "svg" or "png", width in pixels of the page, where it isn't the image's own."""
    mime = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    source = base64.b64encode(content).decode()
    size = f' style="width: {width:.0f}px"' if width else ""
    return f'<img alt="{text(alternative)}"{size} src="data:{mime};base64,{source}">'


def table(frame: pandas.DataFrame, heads: dict[str, str] | None = None, raw=(), tall: bool = False) -> str:
    """A DataFrame as a table to be sorted.

    heads : names of columns for people; raw : columns that hold HTML
    """
    heads = heads or {}
    names = [str(name) for name in frame.columns]
    aligned = [' class="number"' if name not in raw and _is_number(value) else "" for name, value in _first(frame)]
    head = "".join(
        f'<th scope="col"{side}><button type="button">{text(heads.get(name, name.replace("_", " ")))}</button></th>'
        for name, side in zip(names, aligned, strict=True)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(value, name in raw) for name, value in zip(names, row, strict=True)) + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    return (
        f'<div class="scroll{" tall" if tall else ""}"><table class="sortable"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
    )


def number(value: float) -> str:
    """Four digits, or all of a whole number."""
    if math.isnan(value):
        return "-"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _cell(value, raw: bool) -> str:
    if raw:
        return f'<td class="rich">{value}</td>' if "<div" in value else f"<td>{value}</td>"
    if not _is_number(value):
        return f'<td class="words">{text(value)}</td>' if len(str(value)) > WORDS else f"<td>{text(value)}</td>"
    return f'<td class="number" data-v="{_for_scripts(float(value))}">{number(float(value))}</td>'


def _for_scripts(value: float) -> str:
    """A number as JavaScript reads it."""
    return repr(value).replace("inf", "Infinity")


def _is_number(value) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (bool, np.bool_, str))


def _first(frame: pandas.DataFrame) -> list[tuple]:
    """Names of the columns with the value in the first row, None where there is none."""
    values = next(frame.itertuples(index=False, name=None), (None,) * frame.shape[1])
    return list(zip(map(str, frame.columns), values, strict=True))

"""One self-contained page: headings, tables and pictures, nothing from outside the file."""

from __future__ import annotations

import math
import re
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE: Final = """
:root { --ink: #1d2530; --soft: #5a6675; --line: #d9dee5; --fill: #f5f7f9; --mark: #1f5f8b; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 15px/1.5 system-ui, -apple-system,
  "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
.frame { display: grid; grid-template-columns: 230px minmax(0, 1fr); max-width: 1400px;
  margin: 0 auto; }
nav { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto;
  padding: 28px 16px; font-size: 13.5px; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav ul ul { padding-left: 12px; }
nav a { display: block; padding: 2px 6px; color: var(--soft); text-decoration: none; }
nav a:hover { color: var(--mark); }
nav > ul > li > a { color: var(--ink); font-weight: 600; margin-top: 6px; }
main { padding: 24px 32px 80px; border-left: 1px solid var(--line); min-width: 0; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 44px 0 10px; padding-top: 10px; border-top: 2px solid var(--line); }
h3 { font-size: 16px; margin: 28px 0 8px; }
p { max-width: 78ch; margin: 8px 0; }
.lead, figcaption, .note { color: var(--soft); }
.scroll { overflow-x: auto; margin: 10px 0 16px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 11px; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { background: var(--fill); font-weight: 600; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
td:first-child { min-width: 175px; }
td small { color: var(--soft); }
.row { display: flex; flex-wrap: wrap; gap: 12px 18px; align-items: flex-start; }
figure { margin: 6px 0 10px; max-width: 100%; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: 13px; max-width: 44ch; margin-top: 4px; }
.bad { color: #a11; font-weight: 600; }
@media (max-width: 900px) { .frame { grid-template-columns: 1fr; } nav { position: static; }
  main { border-left: 0; padding: 12px; } }
@media print { nav { display: none; } .frame { display: block; } }
"""
_TOP: Final = 2
"""Level of the headings under the title."""


class Page:
    """A page that grows section by section.

    Parameters
    ----------
    title : str
        Over the page.
    lead : str
        A line under the title.
    """

    def __init__(self, title: str, lead: str) -> None:
        self._title, self._lead = title, lead
        self._contents: list[tuple[int, str, str]] = []
        self._parts: list[str] = []

    def heading(self, text: str, *, level: int = 2) -> None:
        """Start a section (level 2) or a part of one (level 3)."""
        anchor = _anchor(text, {name for _, name, _ in self._contents})
        self._contents.append((level, anchor, text))
        self._parts.append(f'<h{level} id="{anchor}">{escape(text)}</h{level}>')

    def text(self, *sentences: str, note: bool = False) -> None:
        """Add a paragraph."""
        kind = ' class="note"' if note else ""
        self._parts.append(f"<p{kind}>{escape(' '.join(sentences))}</p>")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> None:
        """Add a table of texts; the first ``words`` columns are words, the others numbers."""
        kinds = [" " if i < words else ' class="n"' for i in range(len(head))]
        top = "".join(f"<th{k}>{escape(t)}</th>" for k, t in zip(kinds, head, strict=True))
        body = ""
        for row in rows:
            cells = (f"<td{k}>{_cell(t)}</td>" for k, t in zip(kinds, row, strict=True))
            body += f"<tr>{''.join(cells)}</tr>"
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
            f"</div>"
        )

    def figures(self, *figures: tuple[str, str]) -> None:
        """Add pictures side by side: data address and caption of each."""
        inner = "".join(
            f'<figure><img src="{source}" alt="{escape(caption, quote=True)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for source, caption in figures
        )
        self._parts.append(f'<div class="row">{inner}</div>')

    def render(self) -> str:
        """Return the page."""
        title = escape(self._title)
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{title}</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head>'
            f'<body><div class="frame"><nav aria-label="Contents">{self._navigation()}</nav>'
            f'<main><h1>{title}</h1><p class="lead">{escape(self._lead)}</p>'
            f"{''.join(self._parts)}</main></div></body></html>\n"
        )

    def _navigation(self) -> str:
        groups: list[list[str]] = []
        for level, anchor, text in self._contents:
            link = f'<a href="#{anchor}">{escape(text)}</a>'
            if level == _TOP or not groups:
                groups.append([link])
            else:
                groups[-1].append(f"<li>{link}</li>")
        items = []
        for head, *inner in groups:
            below = f"<ul>{''.join(inner)}</ul>" if inner else ""
            items.append(f"<li>{head}{below}</li>")
        return f"<ul>{''.join(items)}</ul>"


def number(value: float | None, *, digits: int = 3, unit: str = "") -> str:
    """Return a number with so many significant digits, and its unit; "-" where not known.

    Examples
    --------
    >>> number(0.12345), number(1234.5), number(2.5, unit="m"), number(float("nan"))
    ('0.123', '1234', '2.50 m', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    text = f"{value:.{max(digits - whole, 0)}f}"
    return f"{text} {unit}" if unit not in {"", "1"} else text


def with_error(value: float, error: float, *, unit: str = "") -> str:
    """Return a number and its standard error as ``0.81 ± 0.02``."""
    if not math.isfinite(error) or not math.isfinite(value):
        return number(value, unit=unit)
    plain = number(value)
    decimals = len(plain.partition(".")[2])
    suffix = "" if unit in {"", "1"} else f" {unit}"
    return f"{plain} ± {error:.{decimals}f}{suffix}"


def percent(value: float) -> str:
    """Return a share in percent with one decimal."""
    return f"{100 * value:.1f} %" if math.isfinite(value) else "-"


def count(value: float) -> str:
    """Return a whole number with thin blanks between the thousands."""
    return f"{round(value):,}".replace(",", "\u202f")


def _cell(text: str) -> str:
    main, sign, error = text.partition(" ± ")
    if not sign:
        return escape(text)
    return f"{escape(main)} <small>± {escape(error)}</small>"


def _anchor(text: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
    names = (base, *(f"{base}-{i}" for i in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)

"""A leaderboard as one HTML page without a script or another file. The same leaderboard makes the same page."""

from __future__ import annotations

import html
import os
from pathlib import Path

from ..evaluation.grading import Grade
from ..experiments.leaderboard import EXPLANATION, Leaderboard, Place
from ..utils.errors import escape_controls
from ..utils.files import make_folder, replacing

BLUE, SKY, GREY = "#0072B2", "#56B4E9", "#777777"  # as in `style`, which needs matplotlib
_STYLE = f"""
:root {{ color-scheme: light dark; --text: #1a1a1a; --back: #fff; --quiet: #595959; --line: #d0d0d0; --bar: {BLUE} }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #ececec; --back: #14171a; --quiet: #b0b0b0; --line: #3c4147; --bar: {SKY} }}
}}
body {{ font: 16px/1.45 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 52rem;
  margin: 0 auto; padding: 1rem }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed }}
caption {{ text-align: left; padding-bottom: .6rem; color: var(--quiet) }}
th, td {{ text-align: left; vertical-align: top; font-weight: normal; padding: .45rem .6rem .45rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere }}
thead th {{ color: var(--quiet); font-size: .85rem }}
th:nth-child(1), td:nth-child(1) {{ width: 2.6rem }}
th:nth-child(4), td:nth-child(4) {{ width: 3.4rem; text-align: right; padding-right: 0 }}
td {{ font-variant-numeric: tabular-nums }}
small {{ display: block; color: var(--quiet); font-size: .82rem }}
svg {{ display: block; width: 100%; height: 12px; margin: .25rem 0 }}
.track {{ fill: var(--line) }} .bar {{ fill: var(--bar) }} .other .bar {{ fill: {GREY} }} .interval {{ fill: var(--text) }}
p, li {{ color: var(--quiet); overflow-wrap: anywhere }}
"""


def write_page(board: Leaderboard, out: str | os.PathLike[str]) -> None:
    """Writes the page of a leaderboard, and makes its folder. Raises WriteError."""
    make_folder(Path(out).parent)
    with replacing(out, "w", encoding="utf-8", newline="\n") as file:
        file.write(leaderboard_page(board))


def leaderboard_page(board: Leaderboard) -> str:
    """The HTML of the page."""
    rows = [_row(place) for place in board.places]
    guessing = f"<td>{board.guessing:.4f}{_bar(board.guessing)}</td><td></td>"
    rows.append(f'<tr class="other"><td></td><th scope="row">guessing<small>reference</small></th>{guessing}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Rank", "Name", "Accuracy, 0 to 1", "Right"))
    refused = "".join(f"<li>{_text(sentence)}</li>" for sentence in board.refused)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><main>",
        f"<h1>Leaderboard</h1><table><caption>{board.summary}</caption>",
        f"<thead><tr>{head}</tr></thead><tbody>",
        *rows,
        f"</tbody></table><p>The line on a bar is Wilson's 95 % interval. {EXPLANATION}</p>",
        *([f"<h2>Not graded</h2><ul>{refused}</ul>"] if refused else []),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _row(place: Place) -> str:
    low, high = place.grade.interval
    remark = f"<small>{place.remark}</small>" if place.remark else ""
    accuracy = f"{place.grade.accuracy:.4f}{_bar(place.grade.accuracy, place.grade)}<small>{low:.3f} to {high:.3f}</small>"
    return (
        f'<tr{"" if place.rank else " class=other"}><td>{place.rank or ""}</td><th scope="row">{_text(place.name)}{remark}</th>'
        f"<td>{accuracy}</td><td>{place.grade.n_right:,}</td></tr>"
    )


def _bar(accuracy: float, grade: Grade | None = None) -> str:
    """The accuracy as a bar, and its interval as a line; the numbers beside it say the same, so it is hidden from readers."""
    low, high = (100 * end for end in (grade.interval if grade else (0, 0)))
    line = f'<rect class="interval" x="{low:.2f}" width="{high - low:.2f}" y="5" height="2"/>' if grade else ""
    return (
        '<svg viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="12"/><rect class="bar" width="{100 * accuracy:.2f}" height="12"/>{line}</svg>'
    )


def _text(text: str) -> str:
    return html.escape(escape_controls(text))

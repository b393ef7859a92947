"""Results as Markdown: the tables of docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from speaker_lib.utils.files import replacing

STEPS_HEADER = ("model", "way", "step/s", "utterances/s", "ratio", "of matmul")
AROUND_HEADER = ("model", "way", "utterances/s", "ratio")


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), ["---"] * len(list(header)), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Puts the text between two marks of a page, in place of what is there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    with replacing(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{text}\n{end}{after}")


def steps_table(rows: list[dict[str, object]]) -> str:
    """Training steps."""
    kept = [row for row in rows if row["fraction_of_matmul"] is not None]
    return markdown(STEPS_HEADER, [_cells(row) for row in kept])


def around_table(rows: list[dict[str, object]]) -> str:
    """Everything else."""
    kept = [row for row in rows if row["fraction_of_matmul"] is None]
    cells = [_cells(row) for row in kept]
    return markdown(AROUND_HEADER, [(model, way, rate, ratio) for model, way, _, rate, ratio, _ in cells])


def growth_tables(rows: list[dict[str, object]]) -> str:
    """A table for each thing that grows."""
    tables = []
    for what in dict.fromkeys(row["what"] for row in rows):
        kept = [row for row in rows if row["what"] == what]
        columns = [key for key in kept[0] if key not in ("what", "size", "device", "date")]
        header = [str(what), *(_column(key) for key in columns)]
        lines = [[f"{row['size']:,}", *(_number(row[key]) for key in columns)] for row in kept]
        tables.append(markdown(header, lines))
    return "\n\n".join(tables)


def _column(key: str) -> str:
    for ending, unit in {"_per_s": "/s", "_ms": ", ms", "_mb": ", MB", "_s": ", s"}.items():
        if key.endswith(ending):
            return key.removesuffix(ending) + unit
    return key


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    fraction = "" if row["fraction_of_matmul"] is None else f"{row['fraction_of_matmul']:.0%}"
    model = f"`{row['model']}`" if row["model"] else ""
    return (model, str(row["way"]), *(_number(row[key]) for key in ("step_per_s", "utterances_per_s", "ratio")), fraction)


def _number(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

"""Tables of what was measured: rows for JSON, and their cells for a page of Markdown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tabulate import tabulate

# Of each column its head, and the cell that it makes of a row.
Columns = Mapping[str, Callable[[dict], str]]


@dataclass(frozen=True)
class Table:
    """Rows of numbers and how they are shown.

    Attributes:
        rows: one dict a row; "failed" says why a row has no numbers.
        columns: of the table.
        notes: sentences that belong below it.
    """

    rows: list[dict]
    columns: Columns
    notes: tuple[str, ...] = ()

    def as_markdown(self) -> str:
        """The table and its notes."""
        cells = [[_cell(show, row) for show in self.columns.values()] for row in self.rows]
        table = tabulate(cells, headers=list(self.columns), tablefmt="github", disable_numparse=True)
        return "\n\n".join([table, *self.notes])


def _cell(show: Callable[[dict], str], row: dict) -> str:
    """A cell; what a failed row lacks is its failure."""
    try:
        return show(row)
    except KeyError:
        if "failed" not in row:
            raise
        return row["failed"]


def number(value: float | None) -> str:
    """Three digits that count; – for none."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def spread(times: Mapping[str, float], unit: float = 1.0) -> str:
    """The median of `Times`, and the fastest and the slowest where they differ, in a unit of seconds."""
    median, lowest, highest = (number(times[name] / unit) for name in ("median", "lowest", "highest"))
    return median if lowest == highest else f"{median} ({lowest}–{highest})"

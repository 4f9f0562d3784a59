"""Tables, and the numbers in their cells."""

import pytest

from avis.benchmark.tables import Table, number, spread


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.00123, "0.00123"), (0.4, "0.400"), (12, "12.0"), (99.96, "100"), (1168.4, "1168")],
)
def test_numbers_have_three_digits_that_count(value: float | None, text: str):
    assert number(value) == text


def test_spread_is_left_out_where_there_is_none():
    assert spread({"median": 2.0, "lowest": 1.5, "highest": 3.0}) == "2.00 (1.50–3.00)"
    assert spread({"median": 0.002, "lowest": 0.002, "highest": 0.002}, 1e-3) == "2.00"


def test_row_that_has_failed_says_why_where_it_has_no_numbers():
    rows = [{"frames": 2, "peak": 1.0}, {"frames": 5, "failed": "out of memory"}]
    columns = {"frames": lambda row: str(row["frames"]), "GiB": lambda row: number(row["peak"])}
    lines = Table(rows, columns, ("A note.",)).as_markdown().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:1] + lines[2:4]]
    assert cells == [["frames", "GiB"], ["2", "1.00"], ["5", "out of memory"]]
    assert lines[-1] == "A note."
    with pytest.raises(KeyError):
        Table([{"frames": 2}], columns).as_markdown()

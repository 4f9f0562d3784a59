from avis.evaluation import comparison_table, metrics_table
from avis.evaluation.tables import SUMMARY


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]


def test_summary_and_categories():
    summary = dict(zip(SUMMARY, (1, 22.345, 33.333, 100, 0, -1, 7, 8, 9), strict=True))
    rows = cells(metrics_table(summary | {"AP/dog": 12.5, "AP/cat": -1, "AP/car": 0, "AP/bass": 99.994}))
    assert rows[0] == list(SUMMARY)
    assert rows[2] == ["1.00", "22.34", "33.33", "100.00", "0.00", "–", "7.00", "8.00", "9.00"]
    assert rows[3] == ["category", "AP"] * 3
    assert rows[5] == ["dog", "12.50", "cat", "–", "car", "0.00"]
    assert rows[6][:2] == ["bass", "99.99"]


def test_comparison():
    results = {
        "own sound": {"AP": 25.0, "AR1": 30.0, "AP75": 1.0},
        "silence": {"AP": 1.0, "AR1": -1, "AP75": 0},
    }
    rows = cells(comparison_table(results, ("AP", "AR1"), "the model hears"))
    assert [rows[0], *rows[2:]] == [
        ["the model hears", "AP", "AR1"],
        ["own sound", "25.00", "30.00"],
        ["silence", "1.00", "–"],
    ]

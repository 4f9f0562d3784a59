import pytest

from avis.evaluation import comparison_table, metrics_table
from avis.evaluation.tables import AP_SUMMARY, FSLA_SUMMARY, HOTA_SUMMARY, protocols_table

STANDARD_AP = tuple(name for name in AP_SUMMARY if name != "AR")


def metrics(**changed: float) -> dict[str, float]:
    """An evaluation in which every metric is 50, but for some."""
    names = (*STANDARD_AP, *HOTA_SUMMARY, *FSLA_SUMMARY, "AP/dog", "AP/cat", "HOTA/dog", "HOTA/cat")
    return dict.fromkeys(names, 50.0) | changed


def released(**changed: float) -> dict[str, float]:
    """The same by the released evaluation, which has one AR only."""
    without = {name: value for name, value in metrics().items() if name not in ("AR1", "AR10", "AR100")}
    return without | {"AR": 50.0} | changed


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]


def test_summaries():
    rows = cells(metrics_table(metrics(AP=1, AP50=22.345, APl=-1, LocA=100, FSLAn=0)))
    assert rows[0] == list(STANDARD_AP)
    assert rows[2] == ["1.00", "22.34", "50.00", "50.00", "50.00", "–", "50.00", "50.00", "50.00"]
    assert rows[3] == list(HOTA_SUMMARY)
    assert rows[5] == ["50.00"] * 3 + ["100.00"] + ["50.00"] * 4
    assert (rows[6], rows[8]) == (list(FSLA_SUMMARY), ["50.00", "0.00", "50.00", "50.00"])


def test_categories():
    by_category = {
        "AP/dog": 12.5,
        "AP/cat": -1,
        "AP/car": 0,
        "HOTA/dog": 1,
        "HOTA/cat": -1,
        "HOTA/car": 99.994,
    }
    table = metrics_table({name: value for name, value in metrics().items() if "/" not in name} | by_category)
    header, _, *rows = cells(table)[-4:]
    assert header == ["category", "AP", "HOTA"] * 2
    assert rows == [["dog", "12.50", "1.00", "cat", "–", "–"], ["car", "0.00", "99.99", "", "", ""]]


def test_protocols_beside_each_other():
    table = protocols_table({"standard": metrics(), "aviseg": released(**{"HOTA/cat": 40.0})})
    rows = cells(table)
    assert rows[0] == ["protocol", *AP_SUMMARY]
    assert rows[2] == ["standard", *["50.00"] * 9, ""]
    assert rows[3] == ["aviseg", *["50.00"] * 6, "", "", "", "50.00"]
    assert rows[-4] == ["category", "AP standard", "HOTA standard", "AP aviseg", "HOTA aviseg"]
    assert rows[-1] == ["cat", "50.00", "50.00", "50.00", "40.00"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [("AP75", "counts all predictions"), ("DetPr", "averages over"), ("FSLAn", "hardly any silent frame")],
)
def test_reasons_where_protocols_differ(changed: str, reason: str):
    results = {"standard": metrics(), "aviseg": released(**{changed: 40.0})}
    text = " ".join(protocols_table(results).split())
    assert text.count("Why they differ") == 1
    assert reason in text


def test_no_reasons_where_protocols_agree():
    assert "Why" not in protocols_table({"standard": metrics(), "aviseg": released(AP=50.0000001)})


def test_comparison():
    results = {
        "own sound": {"AP": 25.0, "AR1": 30.0, "AP75": 1.0},
        "silence": {"AP": 1.0, "AR1": -1, "AP75": 0},
        "another's": {"AP": 2.0},
    }
    rows = cells(comparison_table(results, ("AP", "AR1"), "the model hears"))
    assert [rows[0], *rows[2:]] == [
        ["the model hears", "AP", "AR1"],
        ["own sound", "25.00", "30.00"],
        ["silence", "1.00", "–"],
        ["another's", "2.00", ""],
    ]

"""An evaluation as one page of HTML: nothing to install, nothing to fetch, everything inside.

Charts are SVG, pictures JPEGs within the page, less than 9 MB of them (see MAX_VIDEOS), and it has no script.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from tqdm import tqdm

from avis.evaluation.diagnosis.analysis import Analysis
from avis.evaluation.diagnosis.breakdown import METRICS, Subset
from avis.evaluation.metrics.average_precision import ALL, RECALLS, PrecisionRecall
from avis.evaluation.metrics.hota import FIELDS as HOTA_FIELDS
from avis.evaluation.report.charts import (
    Curve,
    precision_recall_chart,
    small_precision_recall_chart,
    threshold_chart,
)
from avis.evaluation.report.gallery import MAX_VIDEOS, Gallery, GalleryVideo
from avis.files import replacing
from avis.formats.tracks import VideoId

TEMPLATES = Path(__file__).parent / "templates"
HEADLINE = ("AP", "AP50", "AP75", "AR10", "HOTA", "FSLA")
GROUPS = {
    "Finding tracks": ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100"),
    "Detecting and associating": HOTA_FIELDS,
    "Frames that are right": ("FSLA", "FSLAn", "FSLAs", "FSLAm"),
    "Maps of what sounds": ("J", "F", "mIoU", "mF"),
}
# More would not be readable: the classes with the most tracks are shown, in the matrix the rest as one.
MAX_CHARTS = 40
MAX_CLASSES = 30
# IoU thresholds of the curves over all categories, and of those of each.
SHOWN_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
SMALL_THRESHOLDS = (0.5, 0.75)


@dataclass(frozen=True)
class Confusion:
    """The confusion of classes as shown: in `rows`, a name and for each column (count, share of the row)."""

    columns: list[str]
    rows: list[tuple[str, list[tuple[int, float]]]]


def write_report(
    folder: str | Path,
    analysis: Analysis,
    metrics: Mapping[str, float],
    breakdown: Mapping[str, Sequence[Subset]],
    gallery: Gallery,
    *,
    num_videos: int = 12,
    subtitle: str = "",
) -> Path:
    """Write the report.

    Args:
        folder: gets index.html; made if it is missing.
        analysis: of the predictions.
        metrics: of the whole data set, in percent, -1 where undefined.
        breakdown: the parts of the data set; see `break_down`.
        gallery: shows videos.
        num_videos: how many are shown, half of them the best and half the worst.
        subtitle: what was evaluated, and on what.

    Returns:
        The path of the page.

    Raises:
        ValueError: `num_videos` is not within 0 … MAX_VIDEOS, or a frame does not fit its video.
        OSError: the page cannot be written.
    """
    if not 0 <= num_videos <= MAX_VIDEOS:
        raise ValueError(f"a report shows 0 to {MAX_VIDEOS} videos, not {num_videos}")
    worst, best = choose_videos(analysis, num_videos)
    shown = {
        key: gallery.show(key)
        for key in tqdm([*worst, *best], desc="drawing", unit=" videos", delay=2, leave=False, disable=None)
    }
    page = render_report(
        analysis, metrics, breakdown, [shown[key] for key in worst], [shown[key] for key in best], subtitle
    )
    return _write(Path(folder), page)


def choose_videos(analysis: Analysis, number: int) -> tuple[list[VideoId], list[VideoId]]:
    """The worst and the best videos by their quality, the worst and the best first; half the number each."""
    rated = [key for key, found in analysis.findings.items() if not np.isnan(found.quality)]
    rated.sort(key=lambda key: analysis.findings[key].quality)
    number = min(number, len(rated))
    num_best = number // 2
    return rated[: number - num_best], rated[len(rated) - num_best :][::-1]


def open_templates(folder: Path) -> Environment:
    """The templates of a folder for pages of HTML: texts are escaped, and what is not given is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_report(
    analysis: Analysis,
    metrics: Mapping[str, float],
    breakdown: Mapping[str, Sequence[Subset]],
    worst: Sequence[GalleryVideo],
    best: Sequence[GalleryVideo],
    subtitle: str,
) -> str:
    """Make the page's HTML; see `write_report`."""
    environment = open_templates(TEMPLATES)
    environment.filters["number"] = _number
    truth, curves = analysis.truth, analysis.evaluation.curves()
    return environment.get_template("page.html").render(
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        subtitle=subtitle,
        num_videos=len(truth.videos),
        num_tracks=sum(not track.is_crowd for tracks in truth.tracks.values() for track in tracks),
        num_categories=len(truth.categories),
        score_threshold=analysis.score_threshold,
        headline={name: metrics[name] for name in HEADLINE},
        groups=_groups(metrics),
        threshold_chart=_threshold_chart(curves, analysis),
        curves_chart=_curves_chart(curves, analysis),
        shown_names=[_curve_name(threshold) for threshold in SHOWN_THRESHOLDS],
        small_names=[_curve_name(threshold) for threshold in SMALL_THRESHOLDS],
        small_charts=_small_charts(curves, analysis, breakdown["category"]),
        confusion=_confusion(analysis),
        breakdown=breakdown,
        metric_names=METRICS,
        mistakes=analysis.mistakes,
        worst=worst,
        best=best,
    )


def _write(folder: Path, page: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    with replacing(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path


def _number(value: float, digits: int = 1) -> str:
    """A percentage; undefined ones are negative or NaN."""
    return f"{value:.{digits}f}" if value >= 0 else "–"


def _groups(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The metrics of the whole data set that are there, by what they are about."""
    groups = {
        title: {name: metrics[name] for name in names if name in metrics} for title, names in GROUPS.items()
    }
    return {title: values for title, values in groups.items() if values}


def _index(analysis: Analysis, threshold: float) -> int:
    return int(np.abs(analysis.evaluation.protocol.matching.iou_thresholds - threshold).argmin())


def _curve_name(threshold: float) -> str:
    return f"IoU {threshold:g}"


def _mean_precision(curves: Mapping[str, PrecisionRecall]) -> np.ndarray:
    """Precision over the categories with ground truth in percent, (K, R); 0 if there is none."""
    defined = [curve.precision[ALL] for curve in curves.values() if not np.isnan(curve.precision[ALL]).any()]
    num_thresholds = len(next(iter(curves.values())).precision[ALL])
    return 100 * np.mean(defined, axis=0) if defined else np.zeros((num_thresholds, len(RECALLS)))


def _threshold_chart(curves: Mapping[str, PrecisionRecall], analysis: Analysis) -> Markup:
    thresholds = analysis.evaluation.protocol.matching.iou_thresholds.round(2).tolist()
    values = _mean_precision(curves).mean(1).tolist()
    points = ", ".join(f"{value:.1f} at {at:.2f}" for at, value in zip(thresholds, values, strict=True))
    return threshold_chart(thresholds, values, f"AP by IoU threshold: {points}")


def _curves_chart(curves: Mapping[str, PrecisionRecall], analysis: Analysis) -> Markup:
    precision = _mean_precision(curves)
    lines = [
        Curve(
            _curve_name(threshold), (100 * RECALLS).tolist(), precision[_index(analysis, threshold)].tolist()
        )
        for threshold in SHOWN_THRESHOLDS
    ]
    return precision_recall_chart(lines, "Precision over recall, mean of the categories, by IoU threshold")


def _small_charts(
    curves: Mapping[str, PrecisionRecall], analysis: Analysis, parts: Sequence[Subset]
) -> list[tuple[str, float, Markup]]:
    """Name, AP and chart of the categories with ground truth, the worst first."""
    parts = [part for part in parts if part.num_tracks]
    parts = sorted(parts, key=lambda part: part.num_tracks, reverse=True)[:MAX_CHARTS]
    charts = []
    for part in sorted(parts, key=lambda part: part.metrics["AP"]):
        precision = 100 * curves[part.name].precision[ALL]
        lines = [
            # every second recall is enough for so small a picture
            Curve(
                _curve_name(threshold),
                (100 * RECALLS[::2]).tolist(),
                precision[_index(analysis, threshold), ::2].tolist(),
            )
            for threshold in SMALL_THRESHOLDS
        ]
        chart = small_precision_recall_chart(lines, f"Precision over recall of {part.name}")
        charts.append((part.name, part.metrics["AP"], chart))
    return charts


def _confusion(analysis: Analysis) -> Confusion:
    names, counts = list(analysis.truth.categories.values()), analysis.confusion
    if len(names) > MAX_CLASSES:
        names, counts = _merge_rare(names, counts)
    sums = counts.sum(1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros(counts.shape), where=sums > 0)
    cells = [list(zip(*row, strict=True)) for row in zip(counts.tolist(), shares.tolist(), strict=True)]
    rows = list(zip([*names, "false positive"], cells, strict=True))
    return Confusion([*names, "missed"], rows)


def _merge_rare(names: list[str], counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Keep the classes with the most ground-truth tracks, and make one of all others."""
    frequent = np.sort(np.argsort(-counts[:-1].sum(1), kind="stable")[:MAX_CLASSES])
    group = np.full(len(counts), len(frequent))
    group[frequent] = np.arange(len(frequent))
    group[-1] = len(frequent) + 1
    merged = np.zeros((len(frequent) + 2,) * 2, int)
    np.add.at(merged, (group[:, None], group), counts)
    return [*(names[index] for index in frequent), f"{len(names) - len(frequent)} others"], merged

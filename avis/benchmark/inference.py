"""Whole videos of several lengths: ours, and Mask2Former's own code.

Every row is measured in a fresh process, which finds the video on disk. So its peak is that of the video.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from avis.benchmark.fresh import in_fresh_process
from avis.benchmark.synthetic_videos import make_videos
from avis.benchmark.tables import Columns, number, spread
from avis.benchmark.train import ORIGINAL

COLUMNS: Columns = {
    "model": lambda row: row["model"],
    "form": lambda row: row["form"],
    "frames": lambda row: str(row["frames"]),
    "s a frame": lambda row: spread(row["seconds"]),
    "s of CPU a frame": lambda row: spread(row["cpu_seconds"]),
    "GiB before": lambda row: number(row["before"]),
    "GiB at most": lambda row: number(row["peak"]),
}
NOTES = ("Loading is included. “Before” is the process, or on a GPU the model, before the video.",)


def compare_inference(
    config_files: Sequence[str],
    opts: Sequence[str],
    lengths: Sequence[int],
    size: tuple[int, int],
    repeats: int,
    peer: tuple[Path, int] | None = None,
) -> Iterator[dict]:
    """Measure inference with random weights.

    Args:
        config_files: of models of ours.
        opts: config overrides for all of them.
        lengths: frames of the videos.
        size: their height and width.
        repeats: how often a video is predicted.
        peer: a clone of Mask2Former and its number of classes.

    Yields:
        A row for `COLUMNS`.
    """
    for frames in lengths:
        with tempfile.TemporaryDirectory() as folder:
            video = {"json_file": str(make_videos(Path(folder), 1, frames, size)), "repeats": repeats}
            of_row = {"frames": frames, "size": size, "repeats": repeats}
            for config_file in config_files:
                what = {"config_file": config_file, "opts": opts}
                measured = in_fresh_process("avis.benchmark.whole_video", "measure_video", **what, **video)
                yield {"model": Path(config_file).stem, "form": "ours", **of_row, **measured}
            if peer:
                path, num_classes = peer
                what = {"path": str(path), "num_classes": num_classes}
                measured = in_fresh_process("avis.benchmark.peer", "measure_video", **what, **video)
                yield {"model": ORIGINAL, "form": "original", **of_row, **measured}

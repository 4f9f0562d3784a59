"""Training steps at several sizes: ours, the model as it is defined, and Mask2Former's own code.

Every row is measured in a fresh process. Clips are random and alike for all.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from avis.benchmark.fresh import in_fresh_process
from avis.benchmark.tables import Columns, number, spread

ORIGINAL = "Mask2Former"

COLUMNS: Columns = {
    "model": lambda row: row["model"],
    "form": lambda row: row["form"],
    "frames": lambda row: str(row["frames"]),
    "clips": lambda row: str(row["clips"]),
    "step, s": lambda row: spread(row["step"]),
    "step, s of CPU": lambda row: spread(row["cpu"]),
    "forward, s": lambda row: spread(row["forward"]),
    "backward, s": lambda row: spread(row["backward"]),
    "update, s": lambda row: spread(row["update"]),
    "kept, GiB": lambda row: number(row["kept"]),
    "peak, GiB": lambda row: number(row["peak"]),
}
NOTES = (
    "“Kept” is what the forward pass leaves for the backward pass. The peak is that of the GPU's tensors, or "
    "else of the process. “Plain” computes the same losses as the parts are defined.",
)


def cases(frames: Sequence[int], clips: Sequence[int]) -> list[tuple[int, int]]:
    """Numbers of frames and clips: each of the first with the first of the second, and the reverse."""
    return list(dict.fromkeys([(f, clips[0]) for f in frames] + [(frames[0], c) for c in clips]))


def compare_training(
    config_files: Sequence[str],
    opts: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    size: tuple[int, int],
    repeats: int,
    *,
    plain: bool = True,
    peer: tuple[Path, int] | None = None,
) -> Iterator[dict]:
    """Measure training steps.

    Args:
        config_files: of models of ours.
        opts: config overrides for all of them.
        sizes: frames of a clip and clips of a batch.
        size: height and width of frames.
        repeats: steps that count.
        plain: measure the models as they are defined, too.
        peer: a clone of Mask2Former and its number of classes.

    Yields:
        A row for `COLUMNS`.
    """
    for frames, clips in sizes:
        batch = {"frames": frames, "clips": clips, "size": size, "repeats": repeats}
        for config_file in config_files:
            for form in ("ours", "plain") if plain else ("ours",):
                what = {"form": form, "config_file": config_file, "opts": opts}
                measured = in_fresh_process("avis.benchmark.training_step", "measure_step", **what, **batch)
                yield {"model": Path(config_file).stem, "form": form, **batch, **measured}
        if peer:
            path, num_classes = peer
            what = {"path": str(path), "num_classes": num_classes}
            measured = in_fresh_process("avis.benchmark.peer", "measure_step", **what, **batch)
            yield {"model": ORIGINAL, "form": "original", **batch, **measured}

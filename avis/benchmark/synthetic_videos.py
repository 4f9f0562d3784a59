"""SynthAVIS videos of a wanted size and length, to measure on."""

from pathlib import Path

from avis.synthetic import SynthOptions, make_synthavis


def make_videos(folder: Path, number: int, frames: int, size: tuple[int, int]) -> Path:
    """Make videos of one frame a second, in which something sounds.

    Args:
        folder: gets a data set.
        number: of videos.
        frames: of each.
        size: their height and width.

    Returns:
        The path of their annotations.
    """
    height, width = size
    options = SynthOptions(
        train=number, val=0, test=0, seconds=(frames, frames), width=width, height=height, objects=(1, 4)
    )
    make_synthavis(folder, options, progress=False)
    return folder / "train.json"

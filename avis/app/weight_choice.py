"""The weights that the page offers, and the models made of them."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avis.inference import VideoPredictor

QUICKSTART = Path("output/quickstart/model_final.pth")
_SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors")
# Models that are kept: two, so that comparing does not load one anew each time.
_KEPT = 2


def find_weights(given: Sequence[str]) -> dict[str, Path]:
    """The weight files that files and folders stand for, by the shortest name that tells them apart.

    A folder stands for the weight files in it, and for ``model_final`` of the runs in it.

    Raises:
        FileNotFoundError: nothing is given and the quickstart has left no weights, or something is missing.
    """
    if not given and not QUICKSTART.is_file():
        raise FileNotFoundError(
            f"there are no weights: give --weights FILE, or make {QUICKSTART} by tools/quickstart.sh"
        )
    files = [file for name in given or [str(QUICKSTART)] for file in _weights_in(Path(name))]
    files = list(dict.fromkeys(Path(os.path.abspath(file)) for file in files))
    return dict(zip(_short_names(files), files, strict=True))


def _weights_in(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"--weights {path}: there is no such file")
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    files += sorted(file for file in path.glob("*/model_final.*") if file.suffix in _SUFFIXES)
    if not files:
        raise FileNotFoundError(f"--weights {path}: the folder holds no weights ({', '.join(_SUFFIXES)})")
    return files


def _short_names(files: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as tell all apart."""
    for number in range(2, max(len(file.parts) for file in files) + 1):
        names = ["/".join(file.parts[-number:]) for file in files]
        if len(set(names)) == len(names):
            return names
    return [str(file) for file in files]


@dataclass(frozen=True)
class WeightChoice:
    """What can be chosen from.

    Attributes:
        files: by name, the first of which is the default.
        config_file: of the models whose weight files hold no config; "" if there is none.
        opts: KEY, VALUE, … for all configs.
    """

    files: dict[str, Path]
    config_file: str
    opts: tuple[str, ...]

    def __hash__(self) -> int:
        return id(self)

    @lru_cache(maxsize=_KEPT)  # noqa: B019  one choice lives as long as the program
    def load(self, name: str) -> "VideoPredictor":
        """The model of some weights, which gives all its candidates, whatever they score.

        Raises:
            FileNotFoundError: the file is gone.
            ValueError: there is no config for it, or it does not fit.
        """
        # here, as torch takes seconds to import
        from avis.config import get_avis_cfg
        from avis.inference import VideoPredictor
        from avis.weights import about, read_checkpoint

        file = self.files[name]
        text = about(read_checkpoint(file)).get("config")
        all_candidates = ["MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", "0.0"]
        overrides = ["MODEL.WEIGHTS", str(file), *self.opts, *all_candidates]
        if self.config_file or text is None:
            if not self.config_file:
                raise ValueError(f"{name} does not hold its config: start with --config-file FILE")
            return VideoPredictor(get_avis_cfg(self.config_file, overrides))
        with tempfile.TemporaryDirectory() as folder:
            config_file = Path(folder) / "config.yaml"
            config_file.write_text(text, encoding="utf-8")
            return VideoPredictor(get_avis_cfg(config_file, overrides))

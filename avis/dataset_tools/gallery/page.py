"""The page itself: one file of HTML with everything inside, of a bounded size.

Its style is that of the evaluation report. A short script moves the cursor of a timeline with the sound.
"""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from avis.dataset_tools.gallery.clips import Clip
from avis.dataset_tools.gallery.samples import Sample
from avis.evaluation.report.page import TEMPLATES as REPORT
from avis.evaluation.report.page import open_templates
from avis.files import replacing

TEMPLATES = Path(__file__).parent / "templates"
# By which a page of ours is known, so that nothing else is replaced.
_MARK = '<meta name="generator" content="avis show-data">'
_HEAD_BYTES = 4096
# Of the page without cards.
_EMPTY = 40_000


class Room:
    """Shares the bytes that a page may have among its cards."""

    def __init__(self, limit: int, cards: int) -> None:
        """Keep the limit and the number of cards that shall fit."""
        self._left, self._cards = limit - _EMPTY, cards
        self.num_left_out = 0

    def share(self) -> int:
        """Bytes for the next card, if the others get as many."""
        return max(0, self._left // max(1, self._cards))

    def take(self, card: Sample | Clip) -> bool:
        """Whether a card still fits; then its bytes are gone."""
        self._cards -= 1
        fits = card.size <= self._left
        self._left -= card.size if fits else 0
        self.num_left_out += not fits
        return fits


def check_replaceable(path: Path) -> None:
    """Make sure that a page may be written.

    Raises:
        FileExistsError: something else is there.
        FileNotFoundError: there is no such folder.
        ValueError: the name is not that of a page.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--output {path}: the name of a page ends in .html")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output {path}: there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise FileExistsError(f"--output {path} is a folder; give the name of a file")
    if path.exists():
        with path.open("rb") as file:
            if _MARK.encode() not in file.read(_HEAD_BYTES):
                raise FileExistsError(f"--output {path} exists and is not such a page; choose another name")


def write_page(
    path: Path,
    data_sets: Sequence[str],
    subtitle: str,
    samples: Sequence[Sample],
    clips: Sequence[Clip],
    notes: Sequence[str],
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the page.
        data_sets: names or paths.
        subtitle: by which config and seed.
        samples: videos.
        clips: training clips.
        notes: what is left out, and why.
    """
    environment = open_templates(TEMPLATES)
    environment.filters["short"] = _short
    styles = (REPORT / "page.css", TEMPLATES / "gallery.css")
    page = environment.get_template("gallery.html").render(
        mark=Markup(_MARK),
        style=Markup("\n").join(Markup(file.read_text(encoding="utf-8")) for file in styles),
        script=Markup((TEMPLATES / "gallery.js").read_text(encoding="utf-8")),
        title=", ".join(map(_short, data_sets)),
        is_mixed=len(data_sets) > 1,
        subtitle=subtitle,
        samples=samples,
        clips=clips,
        notes=notes,
    )
    with replacing(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _short(data_set: str) -> str:
    """What a data set is called on the page, which says nothing of this machine's folders."""
    return "/".join(Path(data_set).parts[-2:])

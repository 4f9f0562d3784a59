"""Starting a recorded run again: what it needs must be there, and what is not as it was is listed."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from avis.config import WEIGHT_KEYS, RecordedRun, settings_of
from avis.config.tree import leaves
from avis.data.catalog import is_present

logger = logging.getLogger(__name__)


def check_inputs(run: RecordedRun, cfg: CfgNode) -> None:
    """Make sure that a run can be started again.

    Raises:
        FileNotFoundError: a data set or weights are missing.
        ValueError: it would overwrite the run.
    """
    if Path(cfg.OUTPUT_DIR).resolve() == run.folder.resolve():
        raise ValueError(f"OUTPUT_DIR {cfg.OUTPUT_DIR} is that of the run itself; choose another one")
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if not is_present(name):
            place = run.start["data"].get(name, {}).get("annotations")
            raise FileNotFoundError(
                f"data set {name} is missing" + (f"; the run had its annotations in {place}" if place else "")
            )
    for key in WEIGHT_KEYS:
        path = leaves(cfg)[key]
        if path and "://" not in path and not Path(path).is_file():
            raise FileNotFoundError(
                f"{key} {path} is missing, from which the run started; give its place by {key} PATH"
            )


def report_differences(run: RecordedRun, start: dict[str, Any]) -> None:
    """Log what is not as in the run that is started again.

    Args:
        run: the record.
        start: as `record_start` gives it.
    """
    differences = [*_differences(run.start, start), *_changes_on_resume(run)]
    for difference in differences:
        logger.warning("Not as in %s: %s", run.file, difference)
    if not differences:
        logger.info("Code, versions, data, weights and devices are those of %s", run.file)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name in sorted(before["versions"].keys() | now["versions"].keys()):
        yield from _changed(name, before["versions"].get(name), now["versions"].get(name))
    yield from _code(before["git"], now["git"])
    for name, data in now["data"].items():
        yield from _data(name, _counterpart(name, before, now), data)
    for key in sorted(before["weights"].keys() | now["weights"].keys()):
        files = (start["weights"].get(key, {}) for start in (before, now))
        yield from _changed(f"SHA-256 of {key}", *(file.get("sha256") for file in files))
    yield from _changed("processes", *(len(start["processes"]) for start in (before, now)))
    yield from _changed("devices", *(_devices(start) for start in (before, now)))
    yield from _changed("threads", before.get("threads"), now["threads"])
    yield from _settings(settings_of(before), settings_of(now))


def _changed(what: str, before: object, now: object) -> Iterator[str]:
    if before != now:
        yield f"{what}: {before} then, {now} now"


def _code(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    yield from _changed("git commit", before.get("commit"), now.get("commit"))
    if before.get("sha256") != now.get("sha256"):
        then = f"there were some, see {before['difference']}" if before.get("dirty") else "there were none"
        yield f"uncommitted changes: {then}; now there are {'others' if now.get('dirty') else 'none'}"


def _counterpart(name: str, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The record of a data set, which may be called otherwise now: then it is the one in its place."""
    if name in before["data"]:
        return before["data"][name]
    place = list(now["data"]).index(name)
    return list(before["data"].values())[place] if place < len(before["data"]) else {}


def _data(name: str, before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if before.get("sha256") != now["sha256"]:
        yield f"the annotations of {name} ({now['annotations']}) are others"
    files = before.get("files", {})
    common = max(files.keys() & now["files"].keys(), key=int, default=None)
    is_same = common is None or files[common] == now["files"][common]
    if not is_same or before.get("entries") != now["entries"]:
        yield f"frames or sounds of {name} have other names or sizes"
    elif common is not None and int(common) < now["entries"]:
        yield f"frames and sounds of {name}: of {now['entries']} folders, {common} are compared alone"


def _devices(start: dict[str, Any]) -> str:
    names = [process.get("device") for process in start["processes"]]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _settings(before: dict[str, object], now: dict[str, object]) -> Iterator[str]:
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield f"{key}: {before.get(key)!r} then, {now.get(key)!r} now"


def _changes_on_resume(run: RecordedRun) -> Iterator[str]:
    """A run whose settings changed on the way cannot be had in one go."""
    first, last = settings_of(run.start), settings_of(run.last)
    for difference in _settings(first, last):
        yield f"the run was resumed with another {difference.replace(' then, ', ' first, ')[:-4]} later"

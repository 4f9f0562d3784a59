"""Reading configs: files, overrides, and all mistakes in them explained."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from avis.config.errors import ConfigError, one_line
from avis.config.imports import import_modules
from avis.config.keys import add_avis_config
from avis.config.mask2former import Mask2FormerKeys
from avis.config.tree import leaves, nested, walk
from avis.config.unread import find_unread, unread_keys
from avis.config.yaml_files import parse_yaml, read_yaml_files

UNKNOWN_KEY = re.compile(r"Non-existent (?:config )?key: (\S+?)'?$")
WRONG_TYPE = re.compile(
    r"Type mismatch \(<class '(?:.+\.)?(\w+)'> vs\. <class '.+?'>\).* vs\. (.*)\) for config key: (\S+)",
    re.DOTALL,
)
# What yacs and fvcore raise on a value that does not fit.
CONFIG_MISTAKES = (AssertionError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
# Keys that are looked at for one that was meant.
_CANDIDATES = 10
# What a key once was, as text, and what it is now.
RENAMED_KEYS = {"MODEL.AUDIO.SYNC_BN": "MODEL.SYNC_BN"}
RENAMED_VALUES = {"MODEL.MASK_FORMER.AUDIO_QUERY": {"True": "mean", "False": ""}}


@dataclass(frozen=True)
class Setting:
    """One key that a file or the command line sets.

    Attributes:
        source: the file, or "command line".
        key: with its sections, dotted.
        value: as it is written.
    """

    source: str
    key: str
    value: object


def get_avis_cfg(config_file: str | Path | None = None, opts: Sequence = ()) -> CfgNode:
    """Build a config: the defaults, then a file, then overrides.

    Args:
        config_file: YAML, of ours or of Mask2Former for video, or a name of `avis.configs` where there is no
            such file; None or "" leaves the defaults.
        opts: KEY, VALUE, KEY, VALUE, …

    Returns:
        The config, not frozen.

    Raises:
        ConfigError: mistakes in file and overrides, one a line, each with what to do.
    """
    return _build(read_yaml_files(config_file) if config_file else [], opts)


def get_recorded_cfg(text: str, source: str, opts: Sequence = ()) -> CfgNode:
    """Build a config from what ``cfg.dump()`` gave, as checkpoints hold it.

    Args:
        text: YAML.
        source: where it comes from, for messages.
        opts: KEY, VALUE, KEY, VALUE, …

    Raises:
        ConfigError: as `get_avis_cfg`.
    """
    return _build([(source, parse_yaml(text, source))], opts)


def _build(files: Sequence[tuple[str, dict]], opts: Sequence) -> CfgNode:
    overrides = _read_opts(opts)
    cfg = get_cfg()
    add_avis_config(cfg)
    _import_modules(cfg, [*_read_files(files, cfg), *overrides])
    foreign = Mask2FormerKeys(cfg)
    _apply([*_read_files(files, cfg), *overrides], cfg, foreign)
    _expand_home(cfg)
    return cfg


def _apply(settings: Sequence[Setting], cfg: CfgNode, foreign: Mask2FormerKeys) -> None:
    """Merge settings into a config, which has our keys alone afterwards."""
    defaults, given = cfg.clone(), {setting.key for setting in settings}
    mistakes = [*_merge(settings, cfg)]
    wrong = foreign.translate(cfg, given)
    wrong += find_unread(cfg, defaults, unread_keys() | foreign.hints)
    mistakes += [f"{_source(key, settings)}: {explanation}" for key, explanation in wrong]
    _raise_all(mistakes)
    foreign.remove(cfg, given)


def _read_opts(opts: Sequence) -> list[Setting]:
    if len(opts) % 2:
        raise ConfigError(f"command line: KEY VALUE pairs have an odd length: {' '.join(map(str, opts))}")
    return [
        Setting("command line", str(key), value) for key, value in zip(opts[::2], opts[1::2], strict=True)
    ]


def _read_files(files: Iterable[tuple[str, dict]], cfg: CfgNode) -> list[Setting]:
    return [Setting(path, *pair) for path, content in files for pair in _flatten(content, cfg)]


def _flatten(content: dict, cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield (key, value); what is below an unknown key stays one value."""
    for name, value in content.items():
        known = cfg.get(name)
        if isinstance(value, dict) and isinstance(known, CfgNode):
            yield from _flatten(value, known, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _import_modules(cfg: CfgNode, settings: Sequence[Setting]) -> None:
    """Import the last IMPORTS that is set, because the modules may add keys that other settings need."""
    imports = [setting for setting in settings if setting.key == "IMPORTS"]
    if not imports:
        return
    source = imports[-1].source
    _raise_all(_merge(imports, cfg))
    if not (isinstance(cfg.IMPORTS, list) and all(isinstance(name, str) for name in cfg.IMPORTS)):
        raise ConfigError(f"{source}: IMPORTS is a list of names of modules, not {cfg.IMPORTS}")
    try:
        import_modules(cfg.IMPORTS, cfg)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error.__cause__


def _merge(settings: Iterable[Setting], cfg: CfgNode) -> Iterator[str]:
    """Merge settings in their order, and yield what is wrong with them."""
    floats = {key for key, value in leaves(cfg).items() if type(value) is float}
    for setting in settings:
        key = RENAMED_KEYS.get(setting.key, setting.key)
        value = RENAMED_VALUES.get(key, {}).get(str(setting.value), setting.value)
        try:
            cfg.merge_from_other_cfg(CfgNode(nested(key, _as_float(value) if key in floats else value)))
        except CONFIG_MISTAKES as error:
            yield f"{setting.source}: {_explain(error, setting, cfg)}"


def _as_float(value: object) -> object:
    """A whole number as the float that it also is, which yacs refuses to take it for."""
    number = CfgNode._decode_cfg_value(value)
    return float(number) if type(number) is int else value


def _explain(error: Exception, setting: Setting, cfg: CfgNode) -> str:
    text = str(error)
    if match := UNKNOWN_KEY.search(text):
        # A command line names the whole key, a value that is a section the key within.
        return _explain_unknown_key(max(setting.key, match[1], key=len), cfg)
    if match := WRONG_TYPE.search(text):
        wanted, value, key = match.groups()
        return f"{key} cannot be {one_line(value)}: its type is {wanted}"
    if isinstance(error, RecursionError):
        return f"{setting.key} is nested too deep"
    return f"{setting.key}: {one_line(text)}"


def _explain_unknown_key(key: str, cfg: CfgNode) -> str:
    message = f"there is no config key {key!r}"
    if key.startswith("-"):
        return f"{message}; options come before the KEY VALUE pairs"
    # A section is no answer for a key within it, nor another key of the same section.
    known = {name.upper(): name for name, _ in walk(cfg) if name.count(".") == key.count(".")}
    close = difflib.get_close_matches(key.upper(), known, n=_CANDIDATES)
    best = next((known[name] for name in close if _ends_alike(name, key.upper())), None)
    return f"{message}; did you mean {best!r}?" if best else message


def _ends_alike(name: str, other: str) -> bool:
    return bool(difflib.get_close_matches(name.rpartition(".")[2], [other.rpartition(".")[2]]))


def _source(key: str, settings: Sequence[Setting]) -> str:
    """Who has set a key last, by itself or with its section."""
    return next(s.source for s in reversed(settings) if f"{key}.".startswith(f"{s.key}."))


def _raise_all(mistakes: Iterable[str]) -> None:
    if lines := dict.fromkeys(mistakes):
        raise ConfigError("\n".join(lines))


def _expand_home(cfg: CfgNode) -> None:
    for section, name in (
        (cfg, "OUTPUT_DIR"),
        (cfg.MODEL, "WEIGHTS"),
        (cfg.MODEL.AUDIO, "WEIGHTS"),
        (cfg.MODEL.AUDIO, "PCA_WEIGHTS"),
        (cfg.DATASETS, "TRAIN"),
        (cfg.DATASETS, "TEST"),
    ):
        section[name] = _expanded(section[name])


def _expanded(value: object) -> object:
    """A path or paths with "~" replaced by the home folder; anything else stays as it is."""
    if isinstance(value, tuple):
        return tuple(map(_expanded, value))
    return os.path.expanduser(value) if isinstance(value, str) else value

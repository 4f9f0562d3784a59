"""Ablations: one model trained with parts left out, or tested otherwise, over several seeds.

A plan is a YAML file; its paths are relative to it:

    CONFIG: ../synthavis_tiny.yaml           # of the full model
    SYNTHAVIS: tiny                          # optional: the preset of the data, made where it is missing
    OPTS: [SOLVER.MAX_ITER, 1300]            # optional: KEY, VALUE, … for all variants, before their own
    SEEDS: [1, 2, 3]
    VARIANTS:
      full model: []
      no audio query: [MODEL.MASK_FORMER.AUDIO_QUERY, ""]
      silence at test:
        WEIGHTS_OF: full model               # nothing is trained
        OPTS: [INPUT.AUDIO.AT_TEST, silent]
      another model:
        CONFIG: ../synthavis_tiny_avism.yaml # optional: its own config

With `_BASE_: other.yaml` a plan has what the other has, but for the keys and variants that it states itself;
a CONFIG from there is taken relative to the plan that is read.

Every run has a folder, OUTPUT/<variant>/seed_<seed>, as tools/train_net.py fills it.
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import yaml

from avis import configs
from avis.config import CfgNode, get_avis_cfg
from avis.config.yaml_files import read_yaml
from avis.engine.inference_folders import inference_dir
from avis.files import read_json

_KEYS = {"CONFIG", "SYNTHAVIS", "OPTS", "SEEDS", "VARIANTS"}
_VARIANT_KEYS = {"CONFIG", "WEIGHTS_OF", "OPTS"}


@dataclass(frozen=True)
class Variant:
    """A way to train, or to test what another variant has trained.

    Attributes:
        name: as tables call it.
        config_file: of its model.
        opts: KEY, VALUE, … that change the config.
        weights_of: the variant whose weights are tested; "": it trains its own.
    """

    name: str
    config_file: Path
    opts: tuple[str, ...] = ()
    weights_of: str = ""

    @property
    def folder(self) -> str:
        """The name without what is unusual in names of folders."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)


@dataclass(frozen=True)
class Plan:
    """What is to be trained and tested.

    Attributes:
        synthavis: the preset of the data; "": they are there.
        opts: KEY, VALUE, … that change the config for all variants.
        seeds: each variant is run with each of them.
        variants: in the order of the table.
    """

    synthavis: str
    opts: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Attributes:
        variant: what is run.
        seed: of the generators.
        opts: KEY, VALUE, … for all that the run does.
        folder: what the run writes.
        weights: the file that it tests at its end.
    """

    variant: Variant
    seed: int
    opts: tuple[str, ...]
    folder: Path
    weights: Path

    @property
    def trains(self) -> bool:
        """Whether the run trains, rather than only test."""
        return not self.variant.weights_of

    @property
    def arguments(self) -> list[str]:
        """The arguments of tools/train_net.py; after an interruption they go on where it was."""
        mode = ["--resume"] if self.trains else ["--eval-only", "--resume"]
        return [*mode, "--config-file", str(self.variant.config_file), *self.opts]

    @cached_property
    def cfg(self) -> CfgNode:
        """The config of the run."""
        return get_avis_cfg(self.variant.config_file, self.opts)

    def check(self) -> None:
        """Make sure that what is in the folder is of this run, and that the table can have its metrics.

        Raises:
            ValueError: it was made with other settings, of which one is named; there is not one test set.
        """
        if len(self.cfg.DATASETS.TEST) != 1:
            raise ValueError(f"give one data set to test on, not DATASETS.TEST {self.cfg.DATASETS.TEST}")
        path = self.folder / "config.yaml"
        if not path.exists() or path.read_text() == self.cfg.dump():
            return
        defaults, wanted = (_flat(yaml.safe_load(cfg.dump())) for cfg in (get_avis_cfg(), self.cfg))
        found = defaults | _flat(yaml.safe_load(path.read_text()))  # keys may have come since
        key = next((key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)), None)
        if key is None:
            return
        raise ValueError(
            f"{self.folder} holds a run with {key} {found.get(key)}, not {wanted.get(key)}: choose another "
            "--output, or delete it"
        )

    @property
    def iteration(self) -> int:
        """How many iterations are done, as far as is written down."""
        path = self.folder / "training_metrics.json"
        lines = path.read_text().splitlines() if path.exists() else []
        done = (json.loads(line).get("iteration", -1) for line in lines[-3:] if line.endswith("}"))
        return 1 + max(done, default=-1)

    @property
    def metrics(self) -> dict[str, float] | None:
        """The metrics on the test set, None until the run has ended.

        Metrics older than the weights are of an evaluation during the training, or of other weights.
        """
        if not self.weights.is_file():
            return None
        (test_set,) = self.cfg.DATASETS.TEST
        file = inference_dir(self.cfg, test_set) / "metrics.json"
        ended = file.is_file() and file.stat().st_mtime_ns >= self.weights.stat().st_mtime_ns
        return read_json(file) if ended else None


def read_plan(path: str | Path) -> Plan:
    """Read the YAML file of a plan, or one of `avis.configs` by its name.

    Raises:
        FileNotFoundError: there is no such file, or none of the config it names.
        ValueError: it is malformed; the message names the file and the key.
    """
    path = Path(configs.find(path))
    if not path.is_file():
        raise FileNotFoundError(f"there is no plan {path}{configs.suggest(path)}")
    content = read_yaml(path)
    if not {"CONFIG", "SEEDS", "VARIANTS"} <= content.keys() <= _KEYS:
        raise ValueError(f"{path}: a plan has the keys CONFIG, SEEDS, VARIANTS and perhaps SYNTHAVIS, OPTS")
    return Plan(
        content.get("SYNTHAVIS", ""),
        _read_opts(content.get("OPTS", []), path),
        _read_seeds(content["SEEDS"], path),
        _read_variants(content["VARIANTS"], _read_config(content["CONFIG"], path), path),
    )


def plan_runs(plan: Plan, output: Path, opts: Sequence[str] = ()) -> list[Run]:
    """All runs of a plan, seed by seed, below a folder; `opts` change the config of all of them."""
    runs = {}
    for seed, variant in product(plan.seeds, plan.variants):
        folder = output / variant.folder / f"seed_{seed}"
        of_run = [*plan.opts, *variant.opts, *opts, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
        trained = runs[variant.weights_of, seed].folder if variant.weights_of else folder
        weights = trained / "model_final.pth"
        if variant.weights_of:
            of_run += ["MODEL.WEIGHTS", str(weights)]
        runs[variant.name, seed] = Run(variant, seed, tuple(of_run), folder, weights)
    return list(runs.values())


def collect(runs: Iterable[Run]) -> dict[str, list[dict[str, float]]]:
    """The metrics of the runs that have ended, by the names of the variants."""
    results: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        ended = results.setdefault(run.variant.name, [])
        if run.metrics is not None:
            ended.append(run.metrics)
    return results


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard deviation of the sample (0 for a single value)."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _read_opts(opts: object, path: Path) -> tuple[str, ...]:
    if not isinstance(opts, list) or len(opts) % 2:
        raise ValueError(f"{path}: OPTS is a list KEY, VALUE, …, not {opts!r:.80}")
    return tuple(map(str, opts))


def _read_seeds(seeds: object, path: Path) -> tuple[int, ...]:
    is_list = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not is_list or len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: SEEDS is a list of different numbers, not {seeds!r:.80}")
    return tuple(seeds)


def _read_config(name: object, path: Path) -> Path:
    config_file = path.parent / str(name)
    if not config_file.is_file():
        raise FileNotFoundError(f"{path}: there is no CONFIG {config_file}")
    return config_file


def _read_variants(variants: object, config_file: Path, path: Path) -> tuple[Variant, ...]:
    if not isinstance(variants, dict) or not variants:
        raise ValueError(f"{path}: VARIANTS has a name and a list KEY, VALUE, … for each variant")
    read: dict[str, Variant] = {}
    for name, content in variants.items():
        given = {"OPTS": content} if isinstance(content, list) else content
        if not isinstance(given, dict) or not given.keys() <= _VARIANT_KEYS:
            raise ValueError(
                f"{path}: variant {name!r} is a list KEY, VALUE, … or has some of CONFIG, WEIGHTS_OF and OPTS"
            )
        trained = given.get("WEIGHTS_OF", "")
        if trained and trained not in read:
            raise ValueError(f"{path}: variant {name!r}: there is no {trained!r} before it")
        own = _read_config(given["CONFIG"], path) if "CONFIG" in given else None
        default = read[trained].config_file if trained else config_file
        variant = Variant(str(name), own or default, tuple(map(str, given.get("OPTS", []))), trained)
        if variant.folder in {other.folder for other in read.values()}:
            raise ValueError(f"{path}: variant {name!r} has the folder of another, {variant.folder}")
        read[variant.name] = variant
    return tuple(read.values())


def _flat(content: dict, prefix: str = "") -> dict[str, object]:
    """A nested dict with dotted keys."""
    flat = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat

"""How often the videos of an epoch come: rare classes more often, data sets in a ratio.

Rare classes follow Gupta et al., "LVIS", CVPR 2019. A class in a share f of the videos repeats its videos
√(t / f) times, if that is more than once. A video goes by its rarest class.

Dimensions: V videos.
"""

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.samplers import RepeatFactorTrainingSampler

_PLAIN, _BY_CLASS = "TrainingSampler", "RepeatFactorTrainingSampler"


def repeat_factors(cfg: CfgNode, records: list[dict]) -> np.ndarray:
    """How often each video comes in an epoch, on average, (V,).

    Args:
        cfg: DATALOADER.SAMPLER_TRAIN, REPEAT_THRESHOLD (t) and REPEAT_SQRT, DATASETS.TRAIN and RATIOS.
        records: of DATASETS.TRAIN, which know their "data_set".

    Raises:
        ValueError: an unknown sampler, or ratios that do not fit the data sets.
    """
    options = cfg.DATALOADER
    if options.SAMPLER_TRAIN not in (_PLAIN, _BY_CLASS):
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN is {options.SAMPLER_TRAIN!r}; it can be {_PLAIN!r} or {_BY_CLASS!r}"
        )
    factors = np.ones(len(records))
    if options.SAMPLER_TRAIN == _BY_CLASS:
        by_class = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
        factors = by_class(records, options.REPEAT_THRESHOLD, options.REPEAT_SQRT).double().numpy()
    if not cfg.DATASETS.RATIOS:
        return factors
    return _in_ratio(factors, records, _shares(cfg.DATASETS.TRAIN, cfg.DATASETS.RATIOS))


def _shares(names: tuple[str, ...], ratios: tuple[float, ...]) -> dict[str, float]:
    """Each data set's share of an epoch."""
    are_numbers = all(type(ratio) in (int, float) and 0 <= ratio < np.inf for ratio in ratios)
    if not are_numbers or not any(ratios) or len(ratios) != len(names) or len(set(names)) < len(names):
        raise ValueError(
            f"DATASETS.RATIOS {tuple(ratios)} must have a number for each of DATASETS.TRAIN "
            f"{tuple(names)}, which differ; none below 0, and one above"
        )
    return {name: ratio / sum(ratios) for name, ratio in zip(names, ratios, strict=True)}


def _in_ratio(factors: np.ndarray, records: list[dict], shares: dict[str, float]) -> np.ndarray:
    """The factors, scaled so that an epoch of V videos has each data set's share of them."""
    scaled = factors.copy()
    for name, share in shares.items():
        of_set = np.array([record["data_set"] == name for record in records])
        if share and not of_set.any():
            raise ValueError(f"DATASETS.RATIOS asks for videos of {name!r}, of which none is left")
        scaled[of_set] *= len(records) * share / factors[of_set].sum() if share else 0.0
    return scaled

"""Which model of the AVISM family weights are of: VITA (Heo et al., NeurIPS 2022), AVISM (Guo et al., CVPR
2025), ACVIS (Seo et al., ICASSP 2026) or H2S (Liu et al., ACM MM 2026).

Two thirds of their names are the same, so that most of a file would fit another of these models.
"""

import re
from collections.abc import Iterable

from avis.weights.reading import StateDict

# Each model's config, and names that it has beside those of the models below it.
_FAMILY: tuple[tuple[str, str, re.Pattern], ...] = (
    ("H2S", "h2s_R50.yaml", re.compile(r"^.*\b(encode_av_fusion|bi_attn|audio_decomp_\w+)\.")),
    ("ACVIS", "acvis_R50.yaml", re.compile(r"^.*\baudio_centric_query_generator\b")),
    ("AVISM", "avism_R50.yaml", re.compile(r"^(avism_module\.|(.*\.)?(enc_av_\w+|av_sf)\.)")),
    ("VITA", "vita_R50.yaml", re.compile(r"^(vita_module|sem_seg_head\.predictor\.clip)\.")),
)
_START_OF_OTHERS = "VITA"


def refuse_other_models(target: Iterable[str], weights: StateDict, path: str) -> None:
    """Refuse weights that are of another model of the AVISM family than the model, although most names fit.

    Weights of VITA are what the others start from.

    Args:
        target: the names of the model's weights.
        weights: those of the file.
        path: of the file, for the message.

    Raises:
        ValueError: they are of another model.
    """
    found, wanted = family_of(weights), family_of(target)
    if found in (None, wanted) or (found == _START_OF_OTHERS and wanted):
        return
    config, sign = next((config, sign) for name, config, sign in _FAMILY if name == found)
    example = next(name for name in weights if sign.match(name))
    model = wanted or "no model of the AVISM family"
    raise ValueError(
        f"{path} holds a whole model of {found} ({example}), but the config's is {model}: nothing of it is "
        f"loaded. Take its config, such as configs/{config}"
    )


def family_of(names: Iterable[str]) -> str | None:
    """Which model of the family has such names: "VITA", "AVISM", "ACVIS" or "H2S"; None: none of them."""
    names = list(names)
    found = (name for name, _, sign in _FAMILY if any(map(sign.match, names)))
    return next(found, None)

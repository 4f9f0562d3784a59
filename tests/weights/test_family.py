"""Files of AVISM, ACVIS, H2S and VITA: whole models of ours, told by name, refused by the configs of others.

The names and shapes of the originals are in tests/recorded/family/keys.
"""

import ast
import gzip
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from avis.audio import AudioCNN
from avis.audio.weights import load_audio_weights
from avis.config import get_avis_cfg
from avis.modeling import build_model
from avis.weights import (
    LoadReport,
    describe,
    load_weights,
    match_weights,
    read_checkpoint,
    refuse_other_models,
)
from tests import preloaded
from tests.engine.small_model import build_small_model
from tests.modeling.family_case import Case

RECORDED = Path(__file__).parents[1] / "recorded" / "family"
KEYS = RECORDED / "keys"
# Our config by the original's list of names, and what of the list our model does not have.
LISTS = {
    "avism_R50_IN": ("avism_R50", ()),
    "avism_R50_COCO": ("avism_R50_COCO", ()),
    "avism_SwinL_IN": ("avism_SwinL", ()),
    "avism_SwinL_COCO": ("avism_SwinL_COCO", ()),
    "acvis_R50": ("acvis_R50_COCO", ("av_post_proj",)),
    "h2s_R50_IN": ("h2s_R50", ("to_v", "context_to_out")),
    "h2s_R50_COCO": ("h2s_R50_COCO", ("to_v", "context_to_out")),
    "h2s_SwinL_COCO": ("h2s_SwinL_COCO", ("to_v", "context_to_out")),
}
FAMILY = {"avism_R50": "AVISM", "acvis_R50": "ACVIS", "h2s_R50": "H2S", "vita_R50": "VITA"}
# From what only audio adds, VITA's names.
HEARING = ("av_", "enc_av_", "pre_proj", "audio_")
VGGISH = "audio_backbone."
# Weights that the config decides.
CONFIGURED = "empty_weight"


@cache
def names_of(original: str) -> dict[str, Tensor]:
    """Tensors without values, by an original's names."""
    rows = gzip.decompress((KEYS / f"{original}.tsv.gz").read_bytes()).decode().splitlines()
    fields = [row.split("\t") for row in rows]
    return {
        name: torch.empty(ast.literal_eval(shape), dtype=getattr(torch, dtype), device="meta")
        for name, shape, dtype, *_ in fields
    }


@cache
def state_of(config: str) -> dict[str, Tensor]:
    """The state of a config's model, without values."""
    cfg = get_avis_cfg(f"configs/{config}.yaml", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        return build_model(cfg).state_dict()


def vita_names() -> dict[str, Tensor]:
    """VITA's names, as far as they are known: AVISM's from COCO without what hears."""
    names = names_of("avism_R50_COCO")
    return {name: x for name, x in names.items() if not any(part in name for part in HEARING)}


def match(original: dict[str, Tensor], config: str) -> LoadReport:
    return match_weights(state_of(config), {"model": original})[1]


@pytest.mark.parametrize("original", LISTS)
def test_all_entries_of_the_original_are_accounted_for(original: str):
    config, unused = LISTS[original]
    report = match(names_of(original), config)
    # AVISM and H2S hear features of VGGish, which is not in their files.
    missing = [name for name in report.missing if "acvis" in original or not name.startswith(VGGISH)]
    assert not missing and not report.reinitialized
    assert all(any(f".{part}." in name for part in unused) for name in report.unused)
    assert len({part for part in unused for name in report.unused if f".{part}." in name}) == len(unused)
    assert report.source.startswith(f"a whole model of {FAMILY[original.split('_')[0] + '_R50']}")
    derived = [name for name in names_of(original) if CONFIGURED in name or "num_batches" in name]
    assert len(report.loaded) + len(report.unused) >= len(names_of(original)) - len(derived)
    assert report.as_expected()


def test_the_ablation_of_acvis_differs_in_its_count_alone():
    report = match(names_of("acvis_R50_ce_variant"), "acvis_R50")
    assert all("cnt_proj" in name for name in report.reinitialized) and len(report.reinitialized) == 2


def test_vita_weights_load_whole_and_start_the_others():
    assert match(vita_names(), "vita_R50").complete()
    for config in ("avism_R50_COCO", "acvis_R50_COCO"):
        report = match(vita_names(), config)
        assert report.as_expected() and not report.unused and not report.reinitialized
        assert not any("backbone.res" in name or "clip.transformer" in name for name in report.missing)
        refuse_other_models(state_of(config), vita_names(), "w.pth")


def test_image_weights_of_mask2former_start_the_frame_decoder():
    of_images = {name: x for name, x in vita_names().items() if not name.startswith("vita_")}
    report = match(of_images, "vita_R50")
    assert report.as_expected() and not report.unused
    assert {name for name in state_of("vita_R50") if ".predictor.frame." in name} <= set(report.loaded)


@pytest.mark.parametrize("original", ["avism_R50_IN", "avism_R50_COCO", "acvis_R50", "h2s_R50_COCO"])
@pytest.mark.parametrize("config", [*FAMILY, "avis_R50"])
def test_another_model_of_the_family_is_refused_with_the_config_to_take(original: str, config: str):
    names, family = names_of(original), FAMILY[f"{original.split('_')[0]}_R50"]
    assert describe(names).startswith(f"a whole model of {family}")
    if FAMILY.get(config) == family:
        refuse_other_models(state_of(config), names, "w.pth")
        return
    with pytest.raises(
        ValueError, match=rf"w\.pth holds a whole model of {family} .*configs/{family.lower()}_R50"
    ):
        refuse_other_models(state_of(config), names, "w.pth")


def test_vita_is_refused_by_models_that_join_no_frames():
    with pytest.raises(ValueError, match=r"whole model of VITA .*configs/vita_R50\.yaml"):
        refuse_other_models(state_of("avis_R50"), vita_names(), "w.pth")


@pytest.mark.parametrize("config", FAMILY)
def test_our_own_checkpoints_are_told_apart_too(config: str):
    assert describe(state_of(config)).startswith(f"a whole model of {FAMILY[config]}")
    with pytest.raises(ValueError, match=f"whole model of {FAMILY[config]}"):
        refuse_other_models(state_of("avis_R50"), state_of(config), "w.pth")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, nn.Module, dict[str, Tensor]]:
    """A small AVISM, and its weights under the original's names."""
    case = Case(RECORDED / "m1_avism_in_eval_T7_W3_chunks.json")
    model, _ = case.build()
    state = model.state_dict()
    return case, model, {original: state[name] for name, original in case.original_names(model).items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"model": weights},
        lambda weights: {
            "model": weights,
            "optimizer": {"state": {}, "param_groups": []},
            "iteration": 47999,
        },
        lambda weights: {"state_dict": {f"module.{name}": value for name, value in weights.items()}},
    ],
    ids=["bare", "under model", "with an optimizer", "of distributed training"],
)
def test_a_file_of_the_original_loads_whole(tmp_path: Path, published: tuple, wrap: Callable):
    case, model, weights = published
    torch.save(wrap(weights), tmp_path / "AVISM_R50_IN.pth")
    fresh, _ = case.build()
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    report = load_weights(fresh, str(tmp_path / "AVISM_R50_IN.pth"))
    assert report.complete() and report.source == "a whole model of AVISM"
    torch.testing.assert_close(fresh.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_the_convert_tool_writes_it_under_our_names(tmp_path: Path, published: tuple):
    case, model, weights = published
    torch.save({"model": weights}, tmp_path / "AVISM_R50_IN.pth")
    given, made = tmp_path / "AVISM_R50_IN.pth", tmp_path / "avism.safetensors"
    command = [sys.executable, "tools/convert_weights.py", given, made]
    command += ["--config-file", "configs/avism_R50.yaml", *case.options()]
    printed = preloaded.run(command, check=True).stdout
    assert "a whole model of AVISM" in printed and "not in the file" not in printed.split("|")[0]
    converted = read_checkpoint(str(made))["model"]
    assert not any(name.startswith("avism_") for name in converted)
    assert match_weights(model.state_dict(), {"model": converted})[1].complete()


def test_the_numbers_of_queries_are_named_where_they_differ(published: tuple):
    case, _, weights = published
    sizes = ["MODEL.CLIP_DECODER.NUM_QUERIES", 9, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 8]
    options = [*case.options(), *sizes]
    model = build_model(get_avis_cfg("configs/avism_R50.yaml", options))
    hints = match_weights(model.state_dict(), {"model": weights})[1].hints()
    assert sorted(hints) == [
        "MODEL.CLIP_DECODER.NUM_QUERIES is 12 in the file",
        "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES is 10 in the file",
    ]


def small_file(path: Path, prefix: str = "") -> str:
    """A file of AVISM's in which most names are the small model's."""
    small = {name: torch.zeros_like(value) for name, value in build_small_model().state_dict().items()}
    small["sem_seg_head.predictor.av_sf.0.norm.weight"] = torch.zeros(1)
    torch.save({"model": {prefix + name: value for name, value in small.items()}}, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_the_file_is_refused_and_the_model_is_left_alone(tmp_path: Path, prefix: str):
    model = build_small_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"w\.pth holds a whole model of AVISM .*nothing of it is loaded"):
        load_weights(model, small_file(tmp_path / "w.pth", prefix))
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)


def test_our_own_checkpoint_of_the_family_gives_its_audio_backbone(tmp_path: Path):
    saved = AudioCNN()
    weights = {f"audio_backbone.{name}": value for name, value in saved.state_dict().items()}
    weights["sem_seg_head.predictor.clip.temporal_fusion.enc_av_ffn.0.norm.weight"] = torch.zeros(1)
    torch.save({"model": weights}, tmp_path / "w.pth")
    backbone = AudioCNN()
    load_audio_weights(backbone, str(tmp_path / "w.pth"))
    torch.testing.assert_close(backbone.state_dict(), saved.state_dict(), atol=0, rtol=0)


def test_a_model_of_the_users_own_with_such_names_takes_it(tmp_path: Path):
    model = nn.ModuleDict({"vita_module": nn.Linear(2, 2)})
    torch.save(model.state_dict(), tmp_path / "w.pth")
    assert load_weights(model, str(tmp_path / "w.pth")).complete()


def test_the_convert_tool_refuses_to_fit_it_and_names_it(tmp_path: Path):
    path = small_file(tmp_path / "w.pth")
    command = [sys.executable, "tools/convert_weights.py", path, tmp_path / "out.pth"]
    fitted = preloaded.run([*command, "--config-file", "configs/quickstart.yaml"])
    assert fitted.returncode == 2
    assert "holds a whole model of AVISM" in fitted.stderr
    assert not (tmp_path / "out.pth").exists()
    kept = preloaded.run(command, check=True)
    assert "a whole model of AVISM" in kept.stdout

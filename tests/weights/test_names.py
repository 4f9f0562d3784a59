"""Weights of other programs' files reach the right places: they give the features of their own programs."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone, build_model
from torch import Tensor, nn

import avis.modeling  # noqa: F401  registers the backbones
from avis.config import get_avis_cfg
from avis.modeling import TPAVI
from avis.weights import LoadReport, load_weights, read_checkpoint
from tests.weights.test_loading import write_pickle

SWIN = "swin_tiny_patch4_window7_224"
# Of the official code: what its classification files hold beside what ours do.
OFFICIAL_EXTRAS = {
    "norm.weight": torch.ones(768),
    "head.weight": torch.zeros(1000, 768),
    "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49),
}


class WithBackbone(nn.Module):
    """A model of which only the image backbone exists."""

    def __init__(self, config: str, *options: object) -> None:
        super().__init__()
        cfg = get_avis_cfg(f"configs/{config}.yaml", options)
        self.backbone = build_backbone(cfg)
        self.head = nn.Linear(3, 2)  # is not meant by the "head" of a classifier's file
        self.eval()


def swin(name: str = SWIN) -> WithBackbone:
    return WithBackbone("avis_SwinT", "MODEL.TIMM.NAME", name)


def randomised(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with values that layers do not start with."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value += (
                0.1 * torch.rand_like(value)
                if name.endswith("running_var")
                else 0.02 * torch.randn_like(value)
            )
    return model.eval()


def load(model: nn.Module, weights: dict[str, Tensor], path: Path) -> LoadReport:
    torch.save(weights, path)
    return load_weights(model, str(path))


@torch.no_grad()
def stage_outputs(stages: nn.ModuleList, run: nn.Module, image: Tensor) -> list[Tensor]:
    outputs = []
    hooks = [stage.register_forward_hook(lambda _module, _input, x: outputs.append(x)) for stage in stages]
    run(image)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("is_extractor", [False, True])
def test_swin_in_timms_names_gives_timms_features(tmp_path: Path, is_extractor: bool):
    theirs = randomised(timm.create_model(SWIN, features_only=is_extractor, img_size=448))
    ours = swin()
    report = load(ours, theirs.state_dict(), tmp_path / "swin.pth")
    assert report.source == "a Swin Transformer in timm's names"
    assert all(name.startswith(("norm.", "backbone.head.", "head.")) for name in report.unused)
    assert {name.partition(".")[0] for name in report.missing} == {"backbone", "head"}
    assert all(name.startswith(("backbone.norm", "head.")) for name in report.missing)

    # Whole windows, and more than one: timm shifts otherwise where they are not (see swin.py).
    image = torch.randn(1, 3, 448, 448)
    stages = theirs.values() if is_extractor else theirs.layers
    stages = [stage for stage in stages if hasattr(stage, "blocks")]
    expected = stage_outputs(stages, theirs, image)
    for stage, (ours_out, theirs_out) in enumerate(
        zip(stage_outputs(ours.backbone.layers, ours.backbone, image), expected, strict=True)
    ):
        torch.testing.assert_close(ours_out, theirs_out, rtol=1e-4, atol=1e-4, msg=f"stage {stage}")


@pytest.mark.parametrize("kind", ["official", "converted for Mask2Former"])
def test_official_swin_files_fill_the_backbone(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str):
    expected = randomised(swin())
    weights = {
        name.removeprefix("backbone."): value
        for name, value in expected.state_dict().items()
        if name.startswith("backbone.") and not name.startswith("backbone.norm")
    }
    weights |= OFFICIAL_EXTRAS
    ours = swin()
    if kind == "official":
        torch.save({"model": weights}, tmp_path / "swin.pth")
        report = load_weights(ours, str(tmp_path / "swin.pth"))
    else:
        content = {"model": weights, "__author__": "third_party", "matching_heuristics": True}
        report = load_weights(ours, write_pickle(tmp_path / "swin.pkl", content))
    assert report.unused == ["backbone.head.weight", "norm.weight"]
    assert not report.reinitialized
    assert len(report.loaded) == len(weights) - len(OFFICIAL_EXTRAS)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    for name, value in expected.backbone.layers.state_dict().items():
        assert torch.equal(ours.backbone.layers.state_dict()[name], value), name


def test_windows_of_another_size_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    weights = timm.create_model("swin_tiny_patch4_window7_224").state_dict()
    weights = {
        name: v.new_zeros(23 * 23, v.shape[1]) if "bias_table" in name else v for name, v in weights.items()
    }
    report = load(swin(), weights, tmp_path / "swin.pth")
    assert len(report.reinitialized) == 12
    assert "the file's Swin has other windows: choose MODEL.TIMM.NAME accordingly" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize("name", ["convnext_atto", "pvt_v2_b0", "resnet18", "mobilenetv3_small_100"])
def test_any_timm_models_state_dict_gives_its_features(tmp_path: Path, name: str):
    theirs = randomised(timm.create_model(name))
    ours = WithBackbone("avis_SwinT", "MODEL.TIMM.NAME", name, "MODEL.TIMM.DROP_PATH_RATE", 0.0)
    report = load(ours, theirs.state_dict(), tmp_path / "timm.pth")
    assert report.source == "a timm model"
    assert not report.reinitialized
    assert all(missing.startswith("head.") for missing in report.missing)

    extractor = timm.create_model(name, features_only=True).eval()
    weights = {timm_name.replace("_", "."): value for timm_name, value in theirs.state_dict().items()}
    extractor.load_state_dict({key: weights[key.replace("_", ".")] for key in extractor.state_dict()})
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps, expected = ours.backbone(image), extractor(image)[-4:]
    for feature, map_, theirs_map in zip(maps, maps.values(), expected, strict=True):
        torch.testing.assert_close(map_, theirs_map, msg=feature)


def test_timms_resnet_fills_detectron2s(tmp_path: Path):
    theirs = randomised(timm.create_model("resnet50"))
    ours = WithBackbone("avis_R50")
    report = load(ours, theirs.state_dict(), tmp_path / "resnet50.pth")
    assert report.source == "a ResNet in torchvision's names"
    assert report.unused == ["fc.bias", "fc.weight"]
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps, expected = (
            ours.backbone(image),
            theirs.forward_intermediates(image, intermediates_only=True)[1:],
        )
    for feature, map_, theirs_map in zip(maps, maps.values(), expected, strict=True):
        torch.testing.assert_close(map_, theirs_map, rtol=1e-4, atol=1e-4, msg=feature)


SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.AUDIO.NAME": "AudioCNN",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 32,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1,
    "MODEL.MASK_FORMER.HIDDEN_DIM": 32,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 32,
    "MODEL.MASK_FORMER.DEC_LAYERS": 2,
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 10,
}
VISION_ONLY = {
    "MODEL.AUDIO.NAME": "",
    "MODEL.FUSION.NAME": "",
    "MODEL.MASK_FORMER.AUDIO_QUERY": False,
    "MODEL.MASK_FORMER.MASK_HEAD": "dot",
}


def small_cfg(**options: object) -> CfgNode:
    pairs = [item for pair in (SMALL | options).items() for item in pair]
    return get_avis_cfg("configs/avis_R50.yaml", pairs)


def mask2former_file(path: Path, num_classes: int = 80, num_queries: int = 10) -> tuple[str, nn.Module]:
    """A file as Mask2Former's model zoo has them, of a small size, and the model in it."""
    options = {
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": num_classes,
        "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": num_queries,
    }
    model = randomised(build_model(small_cfg(**VISION_ONLY | options)))
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    content = {"model": arrays, "__author__": "MaskFormer", "matching_heuristics": True}
    return write_pickle(path, content), model


@pytest.mark.parametrize("mask_head", ["dot", "residual"])
def test_mask2formers_files_fill_all_but_classes_and_hearing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mask_head: str
):
    path, theirs = mask2former_file(tmp_path / "coco.pkl")
    model = build_model(small_cfg(**{"MODEL.MASK_FORMER.MASK_HEAD": mask_head}))
    no_object_weight = model.criterion.empty_weight.clone()
    with caplog.at_level("INFO", logger="avis"):
        report = load_weights(model, path)

    ours, predictor = model.state_dict(), "sem_seg_head.predictor."
    for name, value in theirs.state_dict().items():
        if name in report.loaded:
            assert torch.equal(ours[name], value), name
    of_mask_head = f"{predictor}mask_embed."
    classes = [f"{predictor}class_embed.bias", f"{predictor}class_embed.weight"]
    expected = {name for name in theirs.state_dict() if name not in classes}
    expected -= {"criterion.empty_weight"}
    if mask_head == "residual":
        expected = {name for name in expected if not name.startswith(of_mask_head)}
    assert set(report.loaded) == expected
    assert list(report.reinitialized) == classes
    parts = ("audio_backbone.", "fusion.", f"{predictor}audio_proj.", of_mask_head)
    assert all(name.startswith(parts) for name in (*report.missing, *report.unused))
    # The config decides the weight of no-object.
    assert torch.equal(model.criterion.empty_weight, no_object_weight)

    assert {record.levelname for record in caplog.records} == {"INFO"}
    told = [record.message for record in caplog.records if "class layer" in record.message]
    assert told == [f"{path}: the class layer starts anew: 80 classes in the file, 26 in the model"]


def test_another_number_of_queries_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path, _ = mask2former_file(tmp_path / "large.pkl", num_classes=26, num_queries=20)
    report = load_weights(build_model(small_cfg()), path)
    names = [name.rsplit(".", 2)[1] for name in report.reinitialized]
    assert names == ["query_embed", "query_feat"]
    assert "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES is 20 in the file" in caplog.text


def test_the_table_counts_tensors_and_values_by_part(tmp_path: Path):
    path, _ = mask2former_file(tmp_path / "coco.pkl")
    model = build_model(small_cfg(**{"MODEL.MASK_FORMER.MASK_HEAD": "dot"}))
    table = load_weights(model, path).table()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    rows = {part: cells for part, *cells in lines}
    assert rows["tensors (values)"] == ["loaded", "other shape", "not in file"]
    assert rows["sem_seg_head.predictor"] == ["29 (14.7k)", "2 (891)", "2 (4.1k)"]
    assert rows["fusion"][:2] == ["", ""]
    assert rows["backbone"][1:] == ["", ""]


def test_tpavi_of_avsbench(tmp_path: Path):
    theirs = randomised(TPAVI(256))
    # Alone, in its own names ...
    alone = TPAVI(256)
    assert load(alone, theirs.state_dict(), tmp_path / "tpavi.pth").complete()
    torch.testing.assert_close(alone.state_dict(), theirs.state_dict(), rtol=0, atol=0)

    # ... and in AVSBench's whole model, where all levels have 256 channels.
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fusion = nn.ModuleDict({name: TPAVI(256) for name in ("res3", "res4")})

    model = Fused()
    weights = {
        f"tpavi_b{level}.{name}": v for level in (1, 2, 3, 4) for name, v in theirs.state_dict().items()
    }
    report = load(model, weights, tmp_path / "avsbench.pth")
    assert len(report.loaded) == 2 * len(theirs.state_dict())
    assert not report.missing
    torch.testing.assert_close(model.fusion["res4"].state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_torchvggishs_weights_fill_the_audio_backbone(tmp_path: Path):
    model = build_model(small_cfg())
    weights = {name: value + 1 for name, value in model.audio_backbone.state_dict().items()}
    report = load(model, weights, tmp_path / "audio.pth")
    assert report.source == "an audio backbone"
    torch.testing.assert_close(model.audio_backbone.state_dict(), weights, rtol=0, atol=0)


def test_safetensors_metadata_and_scalars(tmp_path: Path):
    weights = {"a": torch.tensor(3.0), "b": torch.arange(4, dtype=torch.float16)}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors", {"format": "pt"})
    read = read_checkpoint(str(tmp_path / "w.safetensors"))["model"]
    torch.testing.assert_close(read, weights)
    np.testing.assert_array_equal(read["b"].numpy(), [0, 1, 2, 3])

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from detectron2.modeling import build_backbone
from torch import nn

from avis.config import get_avis_cfg
from avis.weights import load_weights, read_checkpoint
from tests.engine.small_model import build_small_model


class Planted:
    """Runs a command when it is unpickled without restrictions."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


def write_pickle(path: Path, content: object, protocol: int = 2) -> str:
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


def as_arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def changed_model() -> nn.Module:
    """A `SmallModel` in which nothing has its initial value."""
    model = build_small_model()
    for value in model.state_dict().values():
        value += 1
    return model


def assert_same_weights(model: nn.Module, expected: nn.Module) -> None:
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), atol=0, rtol=0)


@pytest.mark.parametrize(
    "kind", ["weights", "training state", "wrapped", "safetensors", "pickle", "flat", "before torch 1.6"]
)
def test_every_kind_of_file_fills_the_model(tmp_path: Path, kind: str):
    expected = changed_model()
    weights = expected.state_dict()
    path = tmp_path / {"safetensors": "w.safetensors", "pickle": "w.pkl"}.get(kind, "w.pth")
    if kind == "safetensors":
        safetensors.torch.save_file(weights, path)
    elif kind == "pickle":
        write_pickle(path, {"model": as_arrays(expected), "__author__": "somebody"})
    elif kind == "wrapped":
        torch.save({"model": {f"module.{name}": value for name, value in weights.items()}}, path)
    elif kind == "training state":
        torch.save({"model": weights, "trainer": {"iteration": 7}, "iteration": 7}, path)
    elif kind == "before torch 1.6":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({"model": weights} if kind == "weights" else weights, path)
    model = build_small_model()
    report = load_weights(model, str(path))
    assert report.complete()
    assert_same_weights(model, expected)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_arrays_scalars_and_plain_containers_load(tmp_path: Path, protocol: int):
    content = {
        "model": OrderedDict(a=np.arange(6, dtype=np.float32).reshape(2, 3), b=np.zeros((), np.int64)),
        "loss": np.float32(0.5),
        "names": ["x", ("y", None, True)],
    }
    read = read_checkpoint(write_pickle(tmp_path / "w.pkl", content, protocol))
    torch.testing.assert_close(read["model"]["a"], torch.arange(6.0).reshape(2, 3))
    assert read["loss"] == 0.5
    assert read["names"] == content["names"]


def test_pickled_tensors_load(tmp_path: Path):
    """As Mask2Former's tool leaves them when it converts a Swin Transformer."""
    whole = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "half": whole.half(),
        "bfloat16": whole.bfloat16(),
        "index": torch.arange(3),
        "scalar": torch.tensor(2.5),
        "part": whole[:, 1:],
        "parameter": nn.Parameter(whole.clone()),
    }
    read = read_checkpoint(write_pickle(tmp_path / "w.pkl", {"model": tensors, "__author__": "third_party"}))
    torch.testing.assert_close(read["model"], tensors, atol=0, rtol=0)


def test_code_in_a_pickled_tensor_is_refused_and_not_run(tmp_path: Path):
    class PlantedTensor:
        def __reduce__(self) -> tuple:
            content = io.BytesIO()
            torch.save(Planted(tmp_path / "marker"), content, _use_new_zipfile_serialization=False)
            return torch.storage._load_from_bytes, (content.getvalue(),)

    path = write_pickle(tmp_path / "hostile.pkl", {"model": {"a": PlantedTensor()}})
    with pytest.raises(ValueError, match=r"hostile\.pkl cannot be read as a weight file.*posix\.system"):
        read_checkpoint(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, suffix: str):
    marker = tmp_path / "marker"
    path = tmp_path / f"hostile{suffix}"
    content = {"model": {}, "extra": Planted(marker)}
    if suffix == ".pkl":
        write_pickle(path, content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=rf"hostile{suffix} cannot be read as a weight file.*posix.system"):
        read_checkpoint(str(path))
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_truncated_file_is_named(tmp_path: Path, suffix: str, kept: float):
    model = build_small_model()
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pkl":
        write_pickle(path, {"model": as_arrays(model)})
    elif suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        safetensors.torch.save_file(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"cut{suffix} cannot be read as a weight file"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"import os", b"hello world", b"<html>not found</html>"])
def test_a_file_of_another_format_is_named_in_one_line_without_advice(
    tmp_path: Path, suffix: str, content: bytes
):
    path = tmp_path / f"page{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read") as caught:
        read_checkpoint(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be read as a weight file: it is damaged or of another format")
    assert "\n" not in message
    assert "weights_only" not in message


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"weight file not found: .*absent\.pth"):
        read_checkpoint(str(tmp_path / "absent.pth"))


@pytest.mark.parametrize("content", [{"model": {"a": "text"}}, {"a": np.array(["text"])}, [1, 2]])
def test_file_without_tensors_is_named(tmp_path: Path, content: object):
    with pytest.raises(ValueError, match=r"other\.pkl"):
        read_checkpoint(write_pickle(tmp_path / "other.pkl", content))


def test_file_of_another_model_is_an_error(tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save({"elsewhere": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"other\.pth: no weight in it belongs to the model"):
        load_weights(build_small_model(), str(path))


def test_other_classes_start_anew_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    expected = changed_model()
    expected.class_embed = nn.Linear(8, 3)
    torch.save(expected.state_dict(), tmp_path / "w.pth")
    model = build_small_model()
    before = model.class_embed.weight.clone()
    with caplog.at_level("INFO"):
        report = load_weights(model, str(tmp_path / "w.pth"))
    assert list(report.reinitialized) == ["class_embed.bias", "class_embed.weight"]
    assert torch.equal(model.class_embed.weight, before)
    assert torch.equal(model.query_embed.weight, expected.query_embed.weight)
    whole, classes = caplog.records
    assert {whole.levelname, classes.levelname} == {"INFO"}
    assert "11 tensors loaded; 2 of another shape, so left at their initial values" in whole.message
    assert "(class_embed.bias, class_embed.weight)" in whole.message
    assert classes.message.endswith("the class layer starts anew: 2 classes in the file, 0 in the model")


def test_partial_file_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    weights = changed_model().state_dict()
    del weights["query_embed.weight"]
    torch.save({**weights, "old.part.weight": torch.zeros(1)}, tmp_path / "w.pth")
    report = load_weights(build_small_model(), str(tmp_path / "w.pth"))
    assert (report.missing, report.unused) == (["query_embed.weight"], ["old.part.weight"])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_names_of_older_mask2former_files(tmp_path: Path):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sem_seg_head = nn.ModuleDict(
                {
                    "pixel_decoder": nn.ModuleDict({"mask_features": nn.Linear(2, 2)}),
                    "predictor": nn.ModuleDict({"query_feat": nn.Embedding(3, 2)}),
                }
            )

    expected = Model()
    older = {
        name.replace("pixel_decoder.", "").replace("query_feat", "static_query"): value.numpy()
        for name, value in expected.state_dict().items()
    }
    model = Model()
    assert load_weights(model, write_pickle(tmp_path / "w.pkl", {"model": older})).complete()
    assert_same_weights(model, expected)


class WithTwoBackbones(nn.Module):
    """The image backbone, and an audio backbone with layers of the same names."""

    def __init__(self) -> None:
        super().__init__()
        cfg = get_avis_cfg()
        cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res3"]
        cfg.MODEL.RESNETS.DEPTH = 18
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
        self.backbone = build_backbone(cfg)
        self.audio_backbone = build_backbone(cfg)


def torchvision_name(name: str) -> str:
    """What torchvision calls a weight of Detectron2's ResNet."""
    name = (
        name.removeprefix("stem.")
        .replace("shortcut.norm", "downsample.1")
        .replace("shortcut", "downsample.0")
    )
    for number in (2, 3, 4, 5):
        name = name.replace(f"res{number}.", f"layer{number - 1}.")
    for number in (1, 2, 3):
        name = name.replace(f"conv{number}.norm", f"bn{number}")
    return name


@pytest.mark.parametrize("source", ["torchvision", "detectron2"])
def test_imagenet_weights_fill_the_image_backbone_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str
):
    expected, model = WithTwoBackbones(), WithTwoBackbones()
    audio_before = {name: value.clone() for name, value in model.audio_backbone.state_dict().items()}
    weights = expected.backbone.state_dict()
    path = tmp_path / ("w.pth" if source == "torchvision" else "w.pkl")
    if source == "torchvision":
        renamed = {torchvision_name(name): value for name, value in weights.items()}
        assert {"conv1.weight", "bn1.bias", "layer2.0.downsample.1.running_var"} <= renamed.keys()
        torch.save({**renamed, "fc.weight": torch.zeros(1000, 512)}, path)
    else:
        arrays = {name: value.numpy() for name, value in weights.items()}
        content = {"model": {**arrays, "fc.weight": np.zeros((1000, 512), np.float32)}}
        write_pickle(path, {**content, "__author__": "torchvision", "matching_heuristics": True})
    report = load_weights(model, str(path))
    assert len(report.loaded) == len(weights)
    assert report.unused == ["fc.weight"]
    torch.testing.assert_close(model.backbone.state_dict(), weights, atol=0, rtol=0)
    torch.testing.assert_close(model.audio_backbone.state_dict(), audio_before, atol=0, rtol=0)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_caffe2_names(tmp_path: Path):
    model = WithTwoBackbones()
    blobs = {
        "conv1_w": np.full((64, 3, 7, 7), 2, np.float32),
        "res_conv1_bn_s": np.full(64, 3, np.float32),
        "res2_0_branch2a_w": np.full((64, 64, 3, 3), 4, np.float32),
        "res2_0_branch2a_w_momentum": np.zeros(3),
        "fc1000_w": np.zeros((1000, 512), np.float32),
    }
    report = load_weights(model, write_pickle(tmp_path / "R-18.pkl", {"blobs": blobs, "cfg": "…"}))
    assert len(report.loaded) == 3
    assert model.backbone.stem.conv1.weight.eq(2).all()
    assert model.backbone.stem.conv1.norm.weight.eq(3).all()
    assert model.backbone.res2[0].conv1.weight.eq(4).all()

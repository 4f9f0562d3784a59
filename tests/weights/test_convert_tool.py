"""tools/convert_weights.py: what it writes loads as the original does, and what it cannot do it says."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import timm
import torch
from detectron2.modeling import build_model
from hypothesis import given, settings
from hypothesis import strategies as st

import avis.modeling  # noqa: F401  registers the models
from avis.audio import AudioCNN
from avis.config import get_avis_cfg
from avis.weights import SUFFIXES, load_weights, read_checkpoint, write_weights
from tests.weights.test_loading import Planted, write_pickle
from tests.weights.test_names import SMALL, VISION_ONLY, mask2former_file, randomised, small_cfg

ROOT = Path(__file__).parents[2]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
Convert = Callable[..., str]


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Convert:
    """Runs the tool and returns what it prints."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
        runpy.run_path(str(ROOT / "tools/convert_weights.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def pairs(options: dict[str, object]) -> list[object]:
    return [item for pair in options.items() for item in pair]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_converted_mask2former_gives_the_same_model(tmp_path: Path, convert: Convert, suffix: str):
    source, _ = mask2former_file(tmp_path / "coco.pkl")
    output = tmp_path / f"converted{suffix}"
    printed = convert(source, output, "--config-file", "configs/avis_R50.yaml", *pairs(SMALL))
    assert "the class layer starts anew: 80 classes in the file, 26 in the model" in printed
    assert "| sem_seg_head.pixel_decoder |" in printed

    models = []
    for path in (source, output):
        torch.manual_seed(0)
        models.append(build_model(small_cfg()))
        report = load_weights(models[-1], str(path))
    assert not report.unused
    assert not report.reinitialized
    assert len(read_checkpoint(str(output))["model"]) == len(report.loaded)
    torch.testing.assert_close(models[1].state_dict(), models[0].state_dict(), rtol=0, atol=0)


def test_a_timm_model_comes_out_under_the_names_of_the_backbone(tmp_path: Path, convert: Convert):
    theirs = randomised(timm.create_model("convnext_atto")).state_dict()
    torch.save(theirs, tmp_path / "timm.pth")
    options = {"MODEL.TIMM.NAME": "convnext_atto", "MODEL.AUDIO.NAME": "AudioCNN"}
    output = tmp_path / "converted.safetensors"
    config = ["--config-file", "configs/avis_SwinT.yaml"]
    printed = convert(tmp_path / "timm.pth", output, *config, *pairs(options))
    assert "timm.pth, a timm model: " in printed
    written = safetensors.torch.load_file(output)
    cfg = get_avis_cfg("configs/avis_SwinT.yaml", ["MODEL.DEVICE", "meta", *pairs(options)])
    with torch.device("meta"):
        backbone = build_model(cfg).backbone.state_dict()
    assert written.keys() == {f"backbone.{name}" for name in backbone}
    name = "stages{}1.blocks.1.mlp.fc1.weight"
    assert torch.equal(written["backbone.model." + name.format("_")], theirs[name.format(".")])


def test_audio_weights_come_out_under_the_names_of_the_whole_model(tmp_path: Path, convert: Convert):
    weights = AudioCNN().state_dict()
    torch.save(weights, tmp_path / "audio.pth")
    config = ["--config-file", "configs/avis_R50.yaml", *pairs(SMALL)]
    convert(tmp_path / "audio.pth", tmp_path / "converted.pth", *config)
    written = read_checkpoint(str(tmp_path / "converted.pth"))["model"]
    expected = {f"audio_backbone.{name}": value for name, value in weights.items()}
    torch.testing.assert_close(written, expected, rtol=0, atol=0)


def test_without_a_config_names_stay_and_the_state_of_training_goes(tmp_path: Path, convert: Convert):
    weights = {"fusion.a": torch.rand(2, 3), "layers.0.b": torch.tensor(3)}
    torch.save({"model": weights, "trainer": {"iteration": 7}, "iteration": 7}, tmp_path / "model_final.pth")
    printed = convert(tmp_path / "model_final.pth", tmp_path / "weights.safetensors")
    assert "model_final.pth: a whole model of AVIS; left out: iteration, trainer\n" in printed
    assert printed.endswith("weights.safetensors: 2 tensors, 7 values\n")
    torch.testing.assert_close(safetensors.torch.load_file(tmp_path / "weights.safetensors"), weights)
    with safetensors.safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "source": "model_final.pth"}


def test_of_two_sets_of_weights_the_averaged_ones_are_taken(tmp_path: Path, convert: Convert):
    source, output = tmp_path / "model_final.pth", tmp_path / "out.pth"
    torch.save({"model": {"a.b": torch.zeros(2)}, "ema_model": {"a.b": torch.ones(2)}}, source)
    for flags, expected in (([], 1.0), (["--trained-last"], 0.0)):
        printed = convert(source, output, *flags)
        assert f"{source}: the {'averaged' if expected else 'weights trained last'}" in printed
        assert read_checkpoint(str(output)).keys() == {"model"}
        torch.testing.assert_close(read_checkpoint(str(output))["model"]["a.b"], torch.full((2,), expected))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sem_seg_head.predictor.query_feat.weight", "a whole model of Mask2Former"),
        ("module.tpavi_b2.theta.weight", "a whole model of AVSBench"),
        ("embeddings.0.weight", "VGGish"),
        ("layers.3.downsample.norm.weight", "a Swin Transformer in timm's names"),
        ("layers.0.downsample.norm.weight", "a Swin Transformer in its official names"),
        ("stem.conv1.weight", "a ResNet in Detectron2's names"),
        ("layer1.0.conv1.weight", "a ResNet in torchvision's names"),
        ("res2_0_branch2a_w", "a ResNet in Caffe2's names"),
        ("blocks.0.weight", "a model that cannot be told by its names"),
    ],
)
def test_without_a_config_it_says_what_the_file_is(tmp_path: Path, convert: Convert, name: str, what: str):
    path = write_pickle(tmp_path / "w.pkl", {name: np.zeros(1, np.float32)})
    assert f"w.pkl: {what}" in convert(path, tmp_path / "w.safetensors")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_tensors_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    weights = data.draw(st.dictionaries(st.text("ab.", min_size=1, max_size=6), tensors(), max_size=4))
    path = tmp_path_factory.mktemp("weights") / f"w{data.draw(st.sampled_from(SUFFIXES))}"
    write_weights(path, weights, source="drawn")
    read = read_checkpoint(str(path))["model"]
    assert {name: value.dtype for name, value in read.items()} == {
        name: value.dtype for name, value in weights.items()
    }
    torch.testing.assert_close(read, weights, rtol=0, atol=0)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Tensors of any shape, some of them views of one memory or not contiguous."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = torch.arange(27)[: int(np.prod(shape))].reshape(shape).to(draw(st.sampled_from(DTYPES)))
    return values.transpose(0, -1) if shape and draw(st.booleans()) else values


def test_tied_weights_are_written_both(tmp_path: Path, convert: Convert):
    tied = torch.rand(3)
    torch.save({"a": tied, "b": tied, "c": tied[1:]}, tmp_path / "tied.pth")
    convert(tmp_path / "tied.pth", tmp_path / "tied.safetensors")
    written = safetensors.torch.load_file(tmp_path / "tied.safetensors")
    torch.testing.assert_close(written, {"a": tied, "b": tied, "c": tied[1:]}, rtol=0, atol=0)


def ends_with(convert: Convert, capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """The one line with which the tool ends on bad input."""
    with pytest.raises(SystemExit) as end:
        convert(*arguments)
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(("error: ", "convert_weights.py: error: "))
    return lines[-1]


@pytest.mark.parametrize("name", ["w.pth", "link.pth", "./w.pth"])
def test_the_input_is_not_overwritten(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture, name: str
):
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "w.pth")
    before = (tmp_path / "w.pth").read_bytes()
    assert "is INPUT itself" in ends_with(convert, capsys, tmp_path / "w.pth", f"{tmp_path}/{name}")
    assert (tmp_path / "w.pth").read_bytes() == before


def hostile(path: Path) -> None:
    write_pickle(path, {"model": {}, "extra": Planted(path.with_name("marker"))})


def truncated(path: Path) -> None:
    write_pickle(path, {"model": {"a": np.zeros(9)}})
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (hostile, ["in.pkl", "out.pth"], "in.pkl cannot be read as a weight file: it refers to posix.system"),
        (truncated, ["in.pkl", "out.pth"], "in.pkl cannot be read as a weight file"),
        (Path.touch, ["in.pkl", "out.pth"], "in.pkl cannot be read as a weight file"),
        (None, ["absent.pth", "out.pth"], "weight file not found"),
        (Path.touch, ["in.pkl", "out.bin"], "out.bin: OUTPUT must end in .safetensors or .pth"),
        (Path.touch, ["in.pkl", "absent/out.pth"], "there is no folder"),
        (Path.touch, ["in.pkl", "out.pth", "MODEL.DEVICE", "cpu"], "belong to a --config-file"),
        (
            Path.touch,
            ["in.pkl", "out.pth", "--config-file", "absent.yaml"],
            "config file not found: absent.yaml",
        ),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture, make, arguments: list[str], message: str
):
    if make:
        make(tmp_path / "in.pkl")
    before = sorted(tmp_path.iterdir())
    files = [tmp_path / argument for argument in arguments[:2]]
    assert message in ends_with(convert, capsys, *files, *arguments[2:])
    assert sorted(tmp_path.iterdir()) == before


def test_weights_of_another_model_are_an_error(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture
):
    torch.save({"elsewhere": torch.zeros(3)}, tmp_path / "w.pth")
    config = ["--config-file", "configs/avis_R50.yaml", *pairs(SMALL | VISION_ONLY)]
    line = ends_with(convert, capsys, tmp_path / "w.pth", tmp_path / "out.pth", *config)
    assert "w.pth: no weight in it belongs to the model" in line
    assert not (tmp_path / "out.pth").exists()

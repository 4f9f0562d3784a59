"""Files of the AVISM family's models: named, and refused, as most of their names would fit."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from avis.audio import AudioCNN
from avis.audio.weights import load_audio_weights
from avis.weights import describe, load_weights
from tests.engine.small_model import build_small_model

MASK2FORMER = (
    "backbone.stem.conv1.weight",
    "sem_seg_head.predictor.query_feat.weight",
    "criterion.empty_weight",
)
# Of each model, a name by which it is known; the COCO configs keep VITA's prefix.
MODELS = {
    "AVISM": ("avism_module.enc_av_cross_attn.0.norm.weight", "sem_seg_head.predictor.av_sf.0.norm.weight"),
    "AVISM from COCO": ("vita_module.enc_av_ffn.0.norm.weight", "vita_module.query_feat.weight"),
    "ACVIS": (
        "vita_module.enc_av_ffn.0.norm.weight",
        "sem_seg_head.predictor.audio_centric_query_generator.0.norm.weight",
        "audio_backbone.features.0.weight",
    ),
    "H2S": (
        "avism_module.encode_av_fusion.0.norm.weight",
        "sem_seg_head.pixel_decoder.bi_attn.0.norm.weight",
    ),
    "VITA": ("vita_module.enc_ffn.0.norm.weight", "vita_module.query_feat.weight"),
}


def weights_of(name: str) -> dict[str, torch.Tensor]:
    small = {key: torch.zeros_like(value) for key, value in build_small_model().state_dict().items()}
    return small | {key: torch.zeros(1) for key in (*MASK2FORMER, *MODELS[name])}


def save(name: str, path: Path, prefix: str = "") -> str:
    torch.save({"model": {prefix + key: value for key, value in weights_of(name).items()}}, path)
    return str(path)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_named(name: str):
    assert describe(weights_of(name)).startswith(f"a whole model of {name.split()[0]}")


def test_each_sign_is_enough():
    for name, keys in MODELS.items():
        for key in keys:
            if key.startswith("audio_backbone") or (name != "VITA" and "query_feat" in key):
                continue
            assert describe({key: torch.zeros(1)}).startswith("a whole model of "), key


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_refused_and_the_model_is_left_alone(tmp_path: Path, name: str, prefix: str):
    model = build_small_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    path = save(name, tmp_path / "w.pth", prefix)
    with pytest.raises(
        ValueError, match=rf"w\.pth holds a whole model of {name.split()[0]}\b.*another model"
    ):
        load_weights(model, path)
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)


def test_its_audio_backbone_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="holds a whole model of ACVIS"):
        load_audio_weights(AudioCNN(), save("ACVIS", tmp_path / "w.pth"))


def test_a_model_of_the_family_takes_it(tmp_path: Path):
    """Such as one of the user's own."""
    model = nn.ModuleDict({"vita_module": nn.Linear(2, 2)})
    torch.save(model.state_dict(), tmp_path / "w.pth")
    assert load_weights(model, str(tmp_path / "w.pth")).complete()


def test_the_convert_tool_refuses_to_fit_it_and_names_it(tmp_path: Path):
    path = save("AVISM", tmp_path / "w.pth")
    command = [sys.executable, "-W", "ignore", "tools/convert_weights.py", path, str(tmp_path / "out.pth")]
    fitted = subprocess.run(
        [*command, "--config-file", "configs/quickstart.yaml"], capture_output=True, text=True, check=False
    )
    assert fitted.returncode == 2
    assert "holds a whole model of AVISM" in fitted.stderr
    assert not (tmp_path / "out.pth").exists()
    kept = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "a whole model of AVISM" in kept.stdout

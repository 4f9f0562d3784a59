"""Audio backbones: recorded numbers, building from a config, freezing, and loading weights."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from avis.audio import AUDIO_BACKBONE_REGISTRY, SILENCE, AudioCNN, VGGish, build_audio_backbone
from avis.audio.pca import read_pca
from avis.audio.vggish import Postprocessing
from avis.audio.weights import load_audio_weights
from avis.config import get_avis_cfg
from tests.audio.recipes import GOLDEN, fill_parameters

# All that hear.
ALL_BACKBONES = sorted({name for name, _ in AUDIO_BACKBONE_REGISTRY} - {"PrecomputedFeatures"})


def audio_cfg(name="AudioCNN", **options):
    opts = {"NAME": name, "FREEZE": False} | options
    return get_avis_cfg(opts=[item for key, value in opts.items() for item in (f"MODEL.AUDIO.{key}", value)])


def test_vggish_equals_recorded_numbers():
    golden = np.load(GOLDEN / "vggish.npz")
    vggish = VGGish().eval()
    fill_parameters(vggish)
    examples = torch.from_numpy(
        np.random.default_rng(701).standard_normal((3, 1, 96, 64), dtype=np.float32) - np.float32(1)
    )
    with torch.no_grad():
        maps = vggish.features(examples).flatten().numpy()
        embedding = vggish(examples).numpy()
    sample = np.linspace(0, maps.size - 1, 2000).astype(np.int64)
    np.testing.assert_allclose(maps[sample], golden["features"], rtol=1e-4, atol=1e-4)
    # The filled weights make features of up to 232.
    np.testing.assert_allclose(embedding, golden["embedding"], rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        last = vggish.embeddings[:-1](vggish.features(examples).permute(0, 2, 3, 1).flatten(1)).numpy()
    np.testing.assert_allclose(last, golden["before_last_relu"], rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_postprocessed_vggish_equals_recorded_numbers():
    vggish = VGGish(postprocess=True).eval()
    fill_parameters(vggish)
    examples = np.random.default_rng(701).standard_normal((3, 96, 64), dtype=np.float32) - np.float32(1)
    processed = vggish(torch.from_numpy(examples))
    np.testing.assert_array_equal(processed.numpy(), np.load(GOLDEN / "vggish.npz")["postprocessed"])


def test_postprocessing_alone_equals_recorded_numbers_and_leaves_no_gradient():
    processing = nn.ModuleDict({"pproc": Postprocessing(128)})
    fill_parameters(processing)
    drawn = np.random.default_rng(702).standard_normal((5, 128), dtype=np.float32)
    features = torch.from_numpy(np.maximum(drawn, 0)).requires_grad_()
    processed = processing["pproc"](features)
    golden = np.load(GOLDEN / "vggish.npz")["postprocessed_alone"]
    np.testing.assert_array_equal(processed.detach().numpy(), golden)
    assert golden.min() > 0 and golden.max() < 255  # so nothing is cut off
    processed.sum().backward()
    assert not features.grad.any()


def test_vggish_has_the_names_and_shapes_of_torchvggish():
    lines = (GOLDEN / "vggish_keys.tsv").read_text().splitlines()
    for postprocess, expected in ((True, lines), (False, [x for x in lines if not x.startswith("pproc.")])):
        state = VGGish(postprocess).state_dict()
        assert [f"{name}\t{tuple(value.shape)}" for name, value in state.items()] == expected


@pytest.mark.parametrize("name", ALL_BACKBONES)
def test_every_backbone_builds_runs_and_learns(name):
    backbone = build_audio_backbone(audio_cfg(name))
    examples = torch.randn(3, 96, 64)
    features = backbone(examples)
    assert features.shape == (3, backbone.output_dim)
    torch.testing.assert_close(features, backbone(examples[:, None]))
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_audio_cnn_is_small_and_takes_its_channels_from_the_config():
    backbone = build_audio_backbone(audio_cfg(FEATURE_DIM=48))
    assert backbone(torch.full((2, 96, 64), SILENCE)).shape == (2, 48)
    assert sum(parameter.numel() for parameter in AudioCNN().parameters()) < 300_000


def test_a_feature_dim_that_the_backbone_does_not_give_is_refused():
    with pytest.raises(ValueError, match=r"FEATURE_DIM is 64, but VGGish gives 128"):
        build_audio_backbone(audio_cfg("VGGish", FEATURE_DIM=64))


def test_an_unknown_name_is_refused():
    with pytest.raises(KeyError, match="Wav2Vec"):
        build_audio_backbone(audio_cfg("Wav2Vec"))


def test_a_frozen_backbone_stays_in_evaluation_mode_and_learns_nothing():
    model = nn.ModuleDict({"audio": build_audio_backbone(audio_cfg(FREEZE=True)), "head": nn.Linear(128, 1)})
    model.train()
    assert model["head"].training
    assert not any(module.training for module in model["audio"].modules())
    assert not model["audio"](torch.randn(2, 96, 64)).requires_grad
    assert not any(parameter.requires_grad for parameter in model["audio"].parameters())


def write_pca(folder, form):
    """A file of a PCA in one of its forms, and its parameters as VGGish has them."""
    rng = np.random.default_rng(0)
    arrays = {
        "pca_eigen_vectors": rng.standard_normal((128, 128)),
        "pca_means": rng.standard_normal((128, 1)),
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    path = folder / ("pca.npz" if form == "npz" else "pca.pth")
    if form == "npz":
        np.savez(path, **arrays)
    elif form == "arrays":  # as torchvggish's release
        torch.save({**arrays, "pca_means": arrays["pca_means"][:, 0]}, path)
    else:
        torch.save({f"{form}{name}": value for name, value in tensors.items()}, path)
    return str(path), {f"pproc.{name}": value.float() for name, value in tensors.items()}


def write_vggish(folder, name="vggish.pth", **more):
    """A file of weights of VGGish, all alike, and they."""
    shapes = {key: value.shape for key, value in VGGish().state_dict().items()}
    weights = {key: torch.tensor(0.01).expand(shape) for key, shape in shapes.items()}
    torch.save(weights | more, folder / name)
    return str(folder / name), weights


@pytest.mark.parametrize("form", ["npz", "arrays", "", "pproc.", "audio_backbone.pproc."])
def test_a_pca_is_read_in_every_form_that_is_published(tmp_path, form):
    path, pca = write_pca(tmp_path, form)
    torch.testing.assert_close(read_pca(path), pca, rtol=0, atol=0)


def test_vggish_takes_its_pca_from_its_own_file_or_a_second_and_only_where_it_is_used(tmp_path):
    second, pca = write_pca(tmp_path, "npz")
    bare, weights = write_vggish(tmp_path)
    both, _ = write_vggish(tmp_path, "both.pth", **pca)
    options = {"POSTPROCESS": True, "WEIGHTS": bare, "PCA_WEIGHTS": second, "FREEZE": True}
    processed, plain = build_audio_backbone(audio_cfg("VGGish", **options)), VGGish()
    torch.testing.assert_close(dict(processed.state_dict()), weights | pca)
    with torch.no_grad():
        processed.pproc.pca_means.zero_()
    for backbone, expected in ((processed, weights | pca), (plain, weights)):
        load_audio_weights(backbone, both)
        torch.testing.assert_close(dict(backbone.state_dict()), expected)
    with pytest.raises(ValueError, match=r"vggish\.pth' lacks.*Set MODEL\.AUDIO\.PCA_WEIGHTS to"):
        load_audio_weights(processed, bare)
    np.savez(second, pca_eigen_vectors=np.eye(64), pca_means=np.zeros(128))
    with pytest.raises(ValueError, match=r"'pproc\.pca_eigen_vectors' is \(64, 64\), not \(128, 128\)"):
        load_audio_weights(processed, bare, second)


def test_a_broken_file_of_a_pca_is_named(tmp_path):
    path = tmp_path / "pca.npz"
    with pytest.raises(FileNotFoundError, match=r"weight file not found: .*pca\.npz"):
        read_pca(str(path))
    np.savez(path, pca_eigen_vectors=np.eye(128))
    with pytest.raises(ValueError, match=r"PCA_WEIGHTS '.*pca\.npz' has no pca_means$"):
        read_pca(str(path))
    os.truncate(path, 200)
    with pytest.raises(ValueError, match=r"pca\.npz cannot be read as a file of arrays"):
        read_pca(str(path))


def test_what_would_do_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"POSTPROCESS is VGGish's; AudioCNN has none"):
        build_audio_backbone(audio_cfg(POSTPROCESS=True))
    with pytest.raises(ValueError, match=r"PCA_WEIGHTS is read together with MODEL\.AUDIO.WEIGHTS"):
        build_audio_backbone(audio_cfg("VGGish", PCA_WEIGHTS="pca.npz"))


def test_acvis_gives_its_audio_backbone_to_one_that_is_postprocessed_only(tmp_path):
    weights = {
        f"audio_backbone.{name}": value for name, value in VGGish(postprocess=True).state_dict().items()
    }
    weights["sem_seg_head.predictor.audio_centric_query_generator.0.norm.weight"] = torch.zeros(1)
    torch.save({"model": weights}, tmp_path / "acvis.pth")
    path = str(tmp_path / "acvis.pth")
    loaded = build_audio_backbone(audio_cfg("VGGish", POSTPROCESS=True, WEIGHTS=path)).state_dict()
    assert all(torch.equal(weights[f"audio_backbone.{name}"], value) for name, value in loaded.items())
    with pytest.raises(ValueError, match=r"VGGish with its post-processing .*set MODEL\.AUDIO\.POSTPROCESS"):
        build_audio_backbone(audio_cfg("VGGish", WEIGHTS=path))


def test_weights_load_and_unused_pca_is_left_out(tmp_path):
    saved = AudioCNN()
    torch.save(saved.state_dict() | {"pproc.pca_means": torch.zeros(128, 1)}, tmp_path / "weights.pth")
    loaded = build_audio_backbone(audio_cfg(WEIGHTS=str(tmp_path / "weights.pth")))
    torch.testing.assert_close(loaded.state_dict(), saved.state_dict())


def test_weights_come_from_a_checkpoint_of_a_whole_model_as_well(tmp_path):
    saved = AudioCNN()
    weights = {f"audio_backbone.{name}": value for name, value in saved.state_dict().items()}
    torch.save({"model": weights | {"backbone.stem.weight": torch.zeros(3)}}, tmp_path / "model.pth")
    loaded = build_audio_backbone(audio_cfg(WEIGHTS=str(tmp_path / "model.pth")))
    torch.testing.assert_close(loaded.state_dict(), saved.state_dict())


def test_weights_that_do_not_fit_are_refused_by_key(tmp_path):
    weights = AudioCNN(output_dim=64).state_dict()
    weights["extra"] = weights.pop("stages.0.0.weight")
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=r"weights.pth.*no 'stages.0.0.weight'.*unknown 'extra'.*\(64, 512\)"
    ):
        build_audio_backbone(audio_cfg(WEIGHTS=str(tmp_path / "weights.pth")))


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    torch.save({"stages.0.0.weight": Hostile(f"touch {tmp_path}/ran")}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth cannot be read .*: it refers to posix\.system"):
        build_audio_backbone(audio_cfg(WEIGHTS=str(tmp_path / "weights.pth")))
    assert not (tmp_path / "ran").exists()

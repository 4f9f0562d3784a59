"""The Swin backbone has the names of the official code and gives its numbers."""

import ast
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from torch import Tensor

from avis.config import get_avis_cfg
from avis.modeling.backbones import SwinTransformer
from tests.modeling.recorded import REFERENCE, assert_recorded, fill_parameters, normal, recording

DEPTHS, HEADS, WINDOW = (2, 2, 2, 2), (2, 4, 4, 8), 4
WITHOUT_AUDIO = [
    *("MODEL.AUDIO.NAME", ""),
    *("MODEL.FUSION.NAME", ""),
    *("MODEL.MASK_FORMER.AUDIO_QUERY", False),
    *("MODEL.MASK_FORMER.MASK_HEAD", "dot"),
]


def small_swin(**options) -> SwinTransformer:
    return SwinTransformer(32, DEPTHS, HEADS, window_sizes=(WINDOW,) * 4, **options)


def test_parameter_names_and_shapes_are_mask2formers():
    options = [*WITHOUT_AUDIO, "MODEL.DEVICE", "meta", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 40]
    with torch.device("meta"):
        model = build_model(get_avis_cfg("configs/avis_SwinB.yaml", options))
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    lines = (REFERENCE / "videomaskformer_SwinB_keys.tsv").read_text().splitlines()
    official = {key: ast.literal_eval(shape) for key, shape in (line.split("\t") for line in lines)}
    assert ours == official


def test_features_are_the_recorded_ones():
    arrays, backbone = recording("x1_swin_small_64x96"), small_swin().eval()
    fill_parameters(backbone)
    with torch.no_grad():
        maps = backbone(normal(np.random.default_rng(901), 1, 3, 64, 96))
    for name in ("res2", "res3", "res4", "res5"):
        assert_recorded(maps[name], arrays, name, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(75, 117), (64, 64), (9, 130)])
def test_features_are_those_of_the_definition(size):
    """At odd sizes, sizes of whole windows, and maps that are smaller than one window."""
    torch.manual_seed(0)
    backbone = small_swin().double().eval()
    for parameter in backbone.parameters():
        parameter.data.normal_(std=0.1)
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        maps, expected = backbone(images), swin_by_definition(backbone.state_dict(), images[0])
    for stride, (name, feature_map) in zip((4, 8, 16, 32), maps.items(), strict=True):
        assert feature_map.shape[2:] == tuple(-(-side // stride) for side in size)
        torch.testing.assert_close(feature_map[0], expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("is_autocast", [True, False])
def test_features_in_bfloat16_are_close(is_autocast):
    torch.manual_seed(0)
    backbone, images = small_swin().eval(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = backbone(images)["res5"]
        with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
            dtype = torch.float32 if is_autocast else torch.bfloat16
            actual = backbone.to(dtype)(images.to(dtype))["res5"]
    # 8 bits of precision through 8 blocks; the features have a standard deviation of 1.
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=0.1)


def test_shorter_outputs_build_no_more_stages_and_norms_than_they_need():
    backbone = small_swin(out_features=["res4", "res3"])
    parts = {".".join(name.split(".")[:2]) for name in backbone.state_dict()}
    assert parts == {
        *("patch_embed.proj", "patch_embed.norm", "layers.0", "layers.1", "layers.2"),
        *("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
    }
    assert not any("layers.2.downsample" in name for name in backbone.state_dict())
    assert list(backbone(torch.randn(1, 3, 32, 64))) == ["res3", "res4"]


def test_stochastic_depth_grows_linearly_over_all_blocks():
    backbone = small_swin(drop_path_rate=0.7)
    rates = [block.drop_path.drop_prob for stage in backbone.layers for block in stage.blocks]
    np.testing.assert_allclose(rates, np.arange(8) / 10, atol=1e-7)


def test_freezing_rests_the_step_to_the_next_stage_and_never_an_output_norm():
    backbone = small_swin(freeze_at=2)
    trainable = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("patch_embed", "layers.0")) for name in trainable)
    assert {"norm0.weight", "layers.1.blocks.0.norm1.weight"} <= trainable


def swin_by_definition(state: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """Features (C, h, w) of one image (3, H, W), window by window and head by head as the paper has them."""
    image = F.pad(image, (0, -image.shape[2] % 4, 0, -image.shape[1] % 4))
    x = F.conv2d(image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=4)
    x, maps = _norm(state, "patch_embed.norm", x.permute(1, 2, 0)), {}
    for stage, (depth, num_heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            normed = _norm(state, f"{block}.norm1", x)
            x = x + _window_attention(state, f"{block}.attn", normed, num_heads, shift=2 * (index % 2))
            hidden = F.gelu(_linear(state, f"{block}.mlp.fc1", _norm(state, f"{block}.norm2", x)))
            x = x + _linear(state, f"{block}.mlp.fc2", hidden)
        maps[f"res{stage + 2}"] = _norm(state, f"norm{stage}", x).permute(2, 0, 1)
        if stage < 3:
            x = _merge_patches(state, f"layers.{stage}.downsample", x)
    return maps


def _linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def _merge_patches(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    x = F.pad(x, (0, 0, 0, x.shape[1] % 2, 0, x.shape[0] % 2))
    corners = [x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]]
    return _linear(state, f"{name}.reduction", _norm(state, f"{name}.norm", torch.cat(corners, dim=-1)))


def _window_attention(state: dict[str, Tensor], name: str, x: Tensor, num_heads: int, shift: int) -> Tensor:
    """Zeros complete the last windows; a shifted window takes up what is cut off at the other end."""
    height, width = x.shape[:2]
    x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    output = torch.zeros_like(x)
    for top, left in product(range(0, x.shape[0], WINDOW), range(0, x.shape[1], WINDOW)):
        rows = [(top + shift + offset) % x.shape[0] for offset in range(WINDOW)]
        columns = [(left + shift + offset) % x.shape[1] for offset in range(WINDOW)]
        places = list(product(rows, columns))
        # Rows or columns below the shift have come round from the other end of the map.
        sides = torch.tensor([(row < shift, column < shift) for row, column in places])
        apart = (sides[:, None] != sides[None]).any(-1)
        window = torch.stack([x[place] for place in places])
        attended = _attention(state, name, window, num_heads, apart)
        for place, token in zip(places, attended, strict=True):
            output[place] = token
    return output[:height, :width]


def _attention(state: dict[str, Tensor], name: str, tokens: Tensor, num_heads: int, apart: Tensor) -> Tensor:
    """Tokens (S, C) of one window; those that are apart get -100 on their logits."""
    queries, keys, values = _linear(state, f"{name}.qkv", tokens).chunk(3, dim=-1)
    offsets = torch.tensor(list(product(range(WINDOW), range(WINDOW))))
    relative = offsets[:, None] - offsets[None] + WINDOW - 1
    table = state[f"{name}.relative_position_bias_table"]
    biases = table[relative[..., 0] * (2 * WINDOW - 1) + relative[..., 1]]
    channels = tokens.shape[1] // num_heads
    heads = []
    for head in range(num_heads):
        part = slice(head * channels, (head + 1) * channels)
        logits = queries[:, part] @ keys[:, part].T / channels**0.5 + biases[..., head] - 100.0 * apart
        heads.append(logits.softmax(-1) @ values[:, part])
    return _linear(state, f"{name}.proj", torch.cat(heads, dim=-1))

"""The audio query of separated sources."""

import pytest
import torch
from detectron2.layers import ShapeSpec

from avis.config import get_avis_cfg
from avis.modeling import VideoMultiScaleMaskedTransformerDecoder
from avis.modeling.audio_query import AUDIO_QUERY_REGISTRY
from avis.modeling.source_query import SourceAudioQuery

SHAPES = {
    "queries": ShapeSpec(channels=16, height=5),
    "levels": ShapeSpec(channels=16),
    "audio": ShapeSpec(channels=6),
}


def built(*options) -> SourceAudioQuery:
    torch.manual_seed(0)
    cfg = get_avis_cfg("configs/h2s_R50.yaml", ["MODEL.DEVICE", "cpu", *options])
    return AUDIO_QUERY_REGISTRY.build("sources", cfg, SHAPES)


@pytest.fixture
def inputs() -> tuple:
    """Queries, pixels of three levels, and three sources, of two frames."""
    torch.manual_seed(0)
    levels = [torch.randn(2, num_pixels, 16) for num_pixels in (6, 24, 96)]
    return torch.randn(2, 5, 16), levels, torch.randn(2, 3, 6)


def test_what_the_sources_find_in_each_level_is_added(inputs):
    module, (queries, levels, audio) = built(), inputs
    heard = module.audio_decomp_attention(
        module.audio_decomp_queries.weight.expand(2, -1, -1),
        module.audio_decomp_pos.weight,
        module.av_pre_proj(audio),
        module.av_pre_proj(audio),
    )
    query = heard + module.audio_decomp_pos.weight
    found = [attention(query, level, level) for attention, level in zip(module.av_sf, levels, strict=True)]
    expected = queries + module.av_post_proj(torch.cat(found, dim=-1))
    started, embed = module(queries, None, levels, audio)
    torch.testing.assert_close(started, expected)
    assert embed is module.audio_decomp_pos.weight


def test_the_order_of_the_sources_says_nothing(inputs):
    module, (queries, levels, audio) = built(), inputs
    started, turned = (module(queries, None, levels, sound)[0] for sound in (audio, audio.flip(1)))
    torch.testing.assert_close(started, turned)


@pytest.mark.parametrize("num_sources", [1, 3])
def test_every_parameter_has_a_gradient(inputs, num_sources):
    module, (queries, levels, audio) = built(), inputs
    started, embed = module(queries, None, levels, audio[:, :num_sources])
    (started.square().sum() + embed.sum()).backward()
    assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


def test_the_decoder_keeps_no_position_embedding_beside_its():
    cfg = get_avis_cfg("configs/h2s_R50.yaml", ["MODEL.DEVICE", "cpu"])
    shapes = {"levels": ShapeSpec(channels=256), "mask_features": ShapeSpec(channels=256)}
    decoder = VideoMultiScaleMaskedTransformerDecoder(cfg, {**shapes, "audio": ShapeSpec(channels=128)})
    assert decoder.query_embed is None


def test_it_is_built_as_the_config_says():
    section = "MODEL.CLUSTERED_ATTENTION"
    module = built(
        f"{section}.CLUSTERS", 4, f"{section}.ITERATIONS", 7, f"{section}.TOP_P", [0.1, 0.2, 0.3],
        f"{section}.START", "random", f"{section}.RELEASED_PADDING", False, "MODEL.MASK_FORMER.NHEADS", 2,
    )  # fmt: skip
    assert [attention.top_p for attention in module.av_sf] == [0.1, 0.2, 0.3]
    for attention in module.av_sf:
        assert (attention.num_clusters, attention.iterations, attention.num_heads) == (4, 7, 2)
        assert attention.start.__name__ == "random_points" and not attention.released_padding


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TOP_P", [0.7], r"TOP_P is \[0.7\].* each of the 3 feature levels"),
        ("START", "middle", r"START is 'middle'; it can be one of \['farthest', 'random'\]"),
    ],
)
def test_options_that_do_not_fit_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        built(f"MODEL.CLUSTERED_ATTENTION.{key}", value)

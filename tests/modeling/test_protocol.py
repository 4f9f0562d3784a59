"""What must fit between backbone and tracks: decoders of any kind, chunk by chunk, with their losses."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avis.modeling import (
    AV_FUSION_REGISTRY,
    LOSS_REGISTRY,
    TRANSFORMER_DECODER_REGISTRY,
    AudioQuery,
    Decoded,
    DotMaskHead,
    Loss,
    MeanAudioQuery,
    VideoDecoder,
    VideoMultiScaleMaskedTransformerDecoder,
)
from avis.registry import PartRegistry
from tests.modeling.test_avis_mask_former import clip, small_model


@pytest.fixture
def register() -> Iterator[Any]:
    """Registers parts for the time of a test."""
    added: list[tuple[PartRegistry, str]] = []

    def add(registry: PartRegistry, part: type) -> str:
        registry.register(part)
        added.append((registry, part.__name__))
        return part.__name__

    yield add
    for registry, name in added:
        registry._obj_map.pop(name)


def decoder(**options: Any) -> VideoMultiScaleMaskedTransformerDecoder:
    torch.manual_seed(0)
    settings = {"num_classes": 3, "hidden_dim": 16, "num_queries": 5, "num_heads": 2, "dim_feedforward": 16}
    head = partial(DotMaskHead, 16, 16)
    return VideoMultiScaleMaskedTransformerDecoder(
        16, **settings, num_layers=3, make_mask_head=head, **options
    )


def features(num_frames: int, num_clips: int = 1) -> tuple[list[Tensor], Tensor]:
    """Levels, the pyramid's among them, and per-pixel embeddings."""
    torch.manual_seed(1)
    sizes = [(2, 3), (4, 6), (8, 12), (16, 24)]
    levels = [torch.randn(num_clips, num_frames, 16, *size) for size in sizes]
    return levels, torch.randn(num_clips, num_frames, 16, 16, 24)


class FramewiseDecoder(VideoDecoder):
    """Decodes frame by frame; a clip's queries are the frames' mean, its masks on a map of its own."""

    def __init__(self, cfg, shapes) -> None:
        super().__init__()
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.MASK_FORMER.TEMPORAL_POSITION = False
        self.frame = VideoMultiScaleMaskedTransformerDecoder(cfg, shapes)
        self.own_map = nn.Conv2d(shapes["levels"].channels, shapes["mask_features"].channels, 1)
        self.calls: list[int] = []

    @property
    def mask_embed(self) -> nn.Module:
        return self.frame.mask_embed

    def see(self, levels: list[Tensor], mask_features: Tensor, audio: Tensor | None) -> tuple:
        self.calls.append(mask_features.shape[1])
        single, sound = ([x.flatten(0, 1)[:, None] for x in levels], None)
        if audio is not None:
            sound = audio.flatten(0, 1)[:, None]
        decoded = self.frame.decide([self.frame.see(single, mask_features.flatten(0, 1)[:, None])], sound)
        clips = mask_features.shape[:2]
        queries = decoded.predictions[-1].queries.unflatten(0, clips)
        return queries, self.own_map(levels[-1].flatten(0, 1)).unflatten(0, clips)

    def decide(self, parts: Sequence[tuple], audio: Tensor | None) -> Decoded:
        queries = torch.cat([queries for queries, _ in parts], dim=1)
        own_map = torch.cat([own_map for _, own_map in parts], dim=1)
        masks = self.mask_embed.on(own_map) if self.training else None
        prediction = self.frame._predict(queries.mean(dim=1), masks, None)
        return Decoded([prediction], own_map, extras={"frame_queries": queries})


class Agreement(Loss):
    """Queries of all frames shall agree; reads what only losses need, and what was matched before."""

    def __init__(self, cfg, shapes) -> None:
        super().__init__()
        assert shapes["queries"].height == cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES

    def forward(self, decoded: Decoded, targets: list, matches: dict) -> dict[str, Tensor]:
        queries = decoded.extras["frame_queries"]
        matched = [match[0] for match in matches["prediction"][0]]
        assert [len(queries) for queries in matched] == [len(target.ids) for target in targets]
        return {"loss_agreement": queries.var(dim=1).mean()}


def test_a_framewise_decoder_with_its_own_map_and_loss_trains_and_predicts_in_chunks(register):
    decoder_name = register(TRANSFORMER_DECODER_REGISTRY, FramewiseDecoder)
    options = [
        "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", decoder_name,
        "MODEL.LOSSES.NAMES", ["prediction", register(LOSS_REGISTRY, Agreement)],
        "MODEL.MASK_FORMER.MASK_HEAD", "dot",
    ]  # fmt: skip
    model = small_model(*options).train()
    losses = model([clip(2), clip(2, height=32, num_tracks=1)])
    assert list(losses) == ["loss_ce", "loss_mask", "loss_dice", "loss_agreement"]
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    # Its masks are made on a map of its own: the pixel decoder's only guide the attention.
    assert without == [f"sem_seg_head.pixel_decoder.mask_features.{kind}" for kind in ("weight", "bias")]

    video, predictions = clip(5), []
    for chunk_size, calls in ((5, [5]), (2, [2, 2, 1])):
        model.eval().chunk_size = chunk_size
        model.sem_seg_head.predictor.calls.clear()
        with torch.no_grad():
            predictions += model([video])
        assert model.sem_seg_head.predictor.calls == calls
    at_once, chunked = predictions
    assert len(at_once.tracks) == 10
    assert [t.category_id for t in at_once.tracks] == [t.category_id for t in chunked.tracks]
    assert [t.score for t in at_once.tracks] == pytest.approx([t.score for t in chunked.tracks], abs=1e-5)


def test_parts_of_chunks_decide_as_the_whole_does():
    model, (levels, mask_features) = decoder().eval(), features(5)
    with torch.no_grad():
        whole = model.decide([model.see(levels, mask_features)])
        parts = [
            model.see([level[:, chunk] for level in levels], mask_features[:, chunk])
            for chunk in (slice(0, 2), slice(2, 5))
        ]
        chunked = model.decide(parts)
    assert len(whole.predictions) == 4
    for ours, theirs in zip(whole.predictions, chunked.predictions, strict=True):
        torch.testing.assert_close(ours.class_logits, theirs.class_logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.queries, theirs.queries, atol=1e-5, rtol=1e-5)
    assert torch.equal(whole.mask_features, chunked.mask_features)


@pytest.mark.parametrize("temporal", [True, False])
def test_without_temporal_position_the_order_of_frames_does_not_matter(temporal):
    model, (levels, mask_features) = decoder(temporal_position=temporal).eval(), features(4)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        first = model.decide([model.see(levels, mask_features)])
        second = model.decide([model.see([level[:, order] for level in levels], mask_features[:, order])])
    same = torch.allclose(
        first.predictions[-1].class_logits, second.predictions[-1].class_logits, atol=1e-4, rtol=1e-4
    )
    assert same != temporal


def test_levels_of_other_channels_are_projected_pixel_by_pixel():
    head = partial(DotMaskHead, 16, 16)
    model = VideoMultiScaleMaskedTransformerDecoder(
        24, num_classes=3, hidden_dim=16, num_queries=5, num_heads=2, dim_feedforward=16, num_layers=3,
        make_mask_head=head,
    )  # fmt: skip
    assert [tuple(projection.weight.shape) for projection in model.input_proj] == [(16, 24, 1, 1)] * 3


class CountingQuery(AudioQuery):
    """Puts one token in front of the queries and leaves them as they are."""

    num_extra = 1

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 16))

    def forward(self, queries, query_embed, levels, audio):
        assert [level.shape[1] for level in levels] == [4 * 6, 4 * 24, 4 * 96]
        assert audio.shape == (2, 4 * 3, 8)
        token = self.token.expand(len(queries), -1, -1)
        return torch.cat([token, queries], dim=1), torch.cat([self.token, query_embed])


@pytest.mark.parametrize("training", [True, False])
def test_extra_tokens_attend_everywhere_and_have_neither_class_nor_mask(training):
    model = decoder(make_audio_query=CountingQuery).train(training)
    levels, mask_features = features(4, num_clips=2)
    decoded = model.decide([model.see(levels, mask_features)], torch.randn(2, 4, 3, 8))
    for prediction in decoded.predictions:
        assert prediction.class_logits.shape == (2, 5, 4)
        assert prediction.queries.shape == (2, 5, 16)
        assert prediction.extra.shape == (2, 1, 16)
        assert (prediction.mask_logits is not None) == training
    allowed = model._attention_mask(decoded.predictions[-1], mask_features, (2, 3))
    assert allowed.shape == (2, 6, 24)
    assert allowed[:, 0].all()
    assert not allowed[:, 1:].all()


def test_the_mean_audio_query_is_the_projected_mean_of_all_frames_and_sources():
    query, queries, embed = MeanAudioQuery(8, 16), torch.randn(2, 5, 16), torch.randn(5, 16)
    audio = torch.randn(2, 12, 8)
    heard, same_embed = query(queries, embed, [], audio)
    projected = audio.mean(1) @ query.weight.T + query.bias
    torch.testing.assert_close(heard - queries, projected[:, None].expand_as(queries), atol=1e-5, rtol=1e-5)
    assert same_embed is embed


class LoudestSource(nn.Module):
    """A fusion that takes several sources: adds the projected loudest one."""

    takes_sources = True

    def __init__(self, cfg, shapes) -> None:
        super().__init__()
        self.project = nn.Linear(shapes["audio"].channels, shapes["visual"].channels)

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        loudest = audio.gather(2, audio.norm(dim=-1).argmax(2)[..., None, None].expand(-1, -1, 1, 128))
        return visual + self.project(loudest[:, :, 0]).transpose(1, 2)[..., None, None]


@pytest.mark.parametrize("place", ["backbone", "pixel_decoder"])
def test_separated_sources_reach_fusion_and_query_in_both_places(register, place):
    name = register(AV_FUSION_REGISTRY, LoudestSource)
    options = ["MODEL.FUSION.NAME", name, "MODEL.FUSION.AT", place, "MODEL.AUDIO.NAME", "PrecomputedFeatures"]
    model = small_model(*options).train()
    names = {key.rpartition("fusion.")[0] for key, _ in model.named_parameters() if "fusion." in key}
    assert names == {"" if place == "backbone" else "sem_seg_head.pixel_decoder."}
    batch = [clip(2), clip(2, height=32, num_tracks=1)]
    for one in batch:
        del one["audio_examples"]
        one["audio_features"] = torch.randn(2, 3, 128)
    sum(model(batch).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_a_fusion_of_one_source_refuses_several():
    model = small_model().train()
    one = clip(2)
    del one["audio_examples"]
    one["audio_features"] = torch.randn(2, 3, 128)
    with pytest.raises(ValueError, match=r"TPAVI takes one audio source, but the features have 3"):
        model([one])


def test_fusion_in_the_pixel_decoder_hears_frame_by_frame():
    """So it cannot depend on the chunks."""
    model, video = small_model("MODEL.FUSION.AT", "pixel_decoder").eval(), clip(5)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.weight.fill_(1.0)  # it starts at 0, and so would hide the attention
        predictions = []
        for model.chunk_size in (5, 2, 1):
            predictions += model([video])
        video["audio_examples"] = torch.randn(5, 96, 64)
        (other,) = model([video])
    scores = [[track.score for track in prediction.tracks] for prediction in (*predictions, other)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    assert scores[2] == pytest.approx(scores[0], abs=1e-5)
    assert scores[3] != pytest.approx(scores[0], abs=1e-5)


REGISTERED = {
    "MODEL.FUSION.NAME": "TPAVI",
    "MODEL.MASK_FORMER.MASK_HEAD": "dot",
    "MODEL.MASK_FORMER.AUDIO_QUERY": "mean",
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "VideoMultiScaleMaskedTransformerDecoder",
}


@pytest.mark.parametrize("key", REGISTERED)
def test_a_part_that_is_not_registered_is_refused_with_those_that_are(key):
    with pytest.raises(KeyError, match=rf"{key} is 'XYZZY', but registered are '{REGISTERED[key]}'.*IMPORTS"):
        small_model(key, "XYZZY")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.FUSION.AT", "decoder"], r"MODEL\.FUSION\.AT is 'decoder'; it can be one of"),
        (["MODEL.LOSSES.NAMES", ["sum"]], r"MODEL\.LOSSES\.NAMES is 'sum', but registered are 'prediction'"),
        (["MODEL.LOSSES.NAMES", []], r"LOSSES\.NAMES is \[\]; it lists one or several different names"),
        (
            ["MODEL.FUSION.AT", "pixel_decoder", "MODEL.FUSION.IN_FEATURES", ["res2"]],
            r"IN_FEATURES names \['res2'\], but the pixel_decoder gives \['res3', 'res4', 'res5'\]",
        ),
    ],
)
def test_places_and_losses_that_do_not_exist_are_refused(options, message):
    with pytest.raises((KeyError, ValueError), match=message):
        small_model(*options)


def test_a_batch_that_lacks_sound_or_mixes_its_kinds_is_refused():
    model, one, other = small_model().train(), clip(2), clip(2)
    del one["audio_examples"]
    with pytest.raises(ValueError, match=r"the clips have \[\[\], \['audio_examples'\]\]"):
        model([one, other])
    one["audio_features"] = torch.randn(2, 128)
    with pytest.raises(ValueError, match=r"\[\['audio_features'\], \['audio_examples'\]\]"):
        model([one, other])

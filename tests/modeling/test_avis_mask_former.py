"""The whole audio-visual model at a small size."""

import pytest
import torch
from detectron2.structures import BitMasks, ImageList, Instances

import avis.modeling  # noqa: F401  (registers the model)
from avis.config import get_avis_cfg
from avis.modeling import build_model
from avis.structures import VideoPrediction

SMALL = [
    "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_resnet10_backbone",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
    "MODEL.AUDIO.NAME", "AudioCNN", "MODEL.AUDIO.FREEZE", False,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 4, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 32,
    "MODEL.SEM_SEG_HEAD.MASK_DIM", 32, "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", 1,
    "MODEL.MASK_FORMER.HIDDEN_DIM", 32, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 6,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD", 32, "MODEL.MASK_FORMER.DEC_LAYERS", 4,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 50,
]  # fmt: skip


def small_model(*options) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(get_avis_cfg("configs/avis_R50.yaml", [*SMALL, *options]))


def clip(num_frames: int, height: int = 40, width: int = 50, num_tracks: int = 2) -> dict:
    """A clip of noise whose tracks fill stripes; the first is silent in the last frame."""
    frames = [torch.randint(0, 256, (3, height, width), dtype=torch.uint8) for _ in range(num_frames)]
    instances = []
    for t in range(num_frames):
        masks = torch.zeros(num_tracks, height, width, dtype=torch.bool)
        for track in range(num_tracks):
            masks[track, 10 * track : 10 * track + 10] = track > 0 or t < num_frames - 1
        instances.append(
            Instances(
                (height, width),
                gt_masks=BitMasks(masks),
                gt_classes=torch.arange(num_tracks),
                gt_ids=torch.arange(num_tracks),
            )
        )
    return {
        "image": frames,
        "audio_examples": torch.randn(num_frames, 96, 64),
        "instances": instances,
        "height": 2 * height,
        "width": 2 * width,
        "video_id": 7,
    }


VARIANTS = {
    "full": [],
    "no audio query": ["MODEL.MASK_FORMER.AUDIO_QUERY", ""],
    "no fusion": ["MODEL.FUSION.NAME", ""],
    "fusion on one level": ["MODEL.FUSION.IN_FEATURES", ["res5"]],
    "dot head": ["MODEL.MASK_FORMER.MASK_HEAD", "dot"],
    "vision only": ["MODEL.AUDIO.NAME", ""],
    "neither query nor fusion": ["MODEL.MASK_FORMER.AUDIO_QUERY", "", "MODEL.FUSION.NAME", ""],
    "last layer only": ["MODEL.MASK_FORMER.DEEP_SUPERVISION", False],
}
FEATURES, ENCODER = (
    f"MODEL.SEM_SEG_HEAD.{key}" for key in ("IN_FEATURES", "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES")
)
ALL = ["res2", "res3", "res4", "res5"]
FUSED = "MODEL.FUSION.IN_FEATURES"
LEVELS = {
    "four in the encoder": [ENCODER, ALL],
    "two": [ENCODER, ["res4", "res5"]],
    "one": [ENCODER, ["res5"]],
    "with a gap": [ENCODER, ["res3", "res5"], FUSED, ["res3", "res5"]],
    "in another order": [ENCODER, ["res5", "res3", "res4"]],
    "three at all": [FEATURES, ALL[1:], ENCODER, ["res4", "res5"]],
    "two at all": [FEATURES, ALL[2:], ENCODER, ["res5"], FUSED, ["res5"]],
    "one at all": [FEATURES, ALL[3:], ENCODER, ["res5"], FUSED, ["res5"]],
    "fused in the pixel decoder": ["MODEL.FUSION.AT", "pixel_decoder", ENCODER, ALL],
}
VARIANTS |= {f"levels: {name}": options for name, options in LEVELS.items()}
PROJECTED = ["MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ", True]
VARIANTS |= {f"projected, {name}": [*options, *PROJECTED] for name, options in LEVELS.items() if "at" in name}
OF_LAYERS = {f"{n} predictions": ["MODEL.MASK_FORMER.DEC_LAYERS", n] for n in (1, 2, 3)}
VARIANTS |= OF_LAYERS | {f"projected, {name}": [*options, *PROJECTED] for name, options in OF_LAYERS.items()}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_trains_on_short_clips_and_runs_on_a_longer_video(options):
    model = small_model(*options).train()
    losses = model([clip(2), clip(2, height=32, num_tracks=1)])
    last_only = "MODEL.MASK_FORMER.DEEP_SUPERVISION" in options
    assert len(losses) == (1 if last_only else model.sem_seg_head.predictor.num_layers + 1) * 3
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []

    with torch.no_grad():
        (prediction,) = model.eval()([clip(5)])
    assert isinstance(prediction, VideoPrediction)
    assert (prediction.video_id, prediction.height, prediction.width) == (7, 80, 100)
    assert len(prediction.tracks) == 10
    assert all(len(track.segmentations) == 5 for track in prediction.tracks)
    sizes = {tuple(m["size"]) for track in prediction.tracks for m in track.segmentations if m}
    assert sizes == {(80, 100)}


def test_a_clip_without_tracks_gives_every_parameter_a_gradient():
    """Otherwise processes with and without tracks would wait for each other for ever."""
    model = small_model().train()
    sum(model([clip(2, num_tracks=0)]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_each_video_of_a_batch_is_predicted_by_itself():
    model, videos = small_model().eval(), [clip(3), clip(2, height=32)]
    with torch.no_grad():
        together = model(videos)
        alone = [model([video])[0] for video in videos]
    assert together == alone


def test_sound_changes_the_prediction_only_of_a_model_that_hears():
    for options, hears in (([], True), (["MODEL.AUDIO.NAME", ""], False)):
        model, video = small_model(*options).eval(), clip(3)
        with torch.no_grad():
            first = model([video])[0].tracks
            video["audio_examples"] = torch.randn(3, 96, 64)
            second = model([video])[0].tracks
        assert (first != second) == hears


def test_an_audio_backbone_learns_from_the_statistics_of_its_whole_batch():
    model = small_model().train()
    examples = torch.randn(70, 96, 64)
    heard = model.hear([{"audio_examples": examples}])
    torch.testing.assert_close(heard[0, :, 0], model.audio_backbone(examples))


def test_precomputed_features_skip_the_audio_backbone():
    model, video = small_model().eval(), clip(3)
    with torch.no_grad():
        from_examples = model([video])[0]
        video["audio_features"] = model.audio_backbone(video.pop("audio_examples"))
        from_features = model([video])[0]
    assert from_examples == from_features


def test_clips_of_different_lengths_cannot_be_one_batch():
    with pytest.raises(ValueError, match=r"equally long, not \[2, 3\] frames"):
        small_model().train()([clip(2), clip(3)])


PARTS = [
    *("predictor.class_embed.bias", "predictor.decoder_norm.weight", "predictor.mask_embed.linear.bias"),
    "pixel_decoder.mask_features.bias",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("training", [True, False])
def test_predictions_that_are_not_finite_are_an_error(part: str, value: float, training: bool):
    model = small_model().train(training)
    with torch.no_grad():
        model.sem_seg_head.get_parameter(part)[0] = value
        problem = r"^the predictions are not finite" if training else r"^video 7: the .* are not finite"
        with pytest.raises(FloatingPointError, match=problem):
            model([clip(2)])


def test_fusion_on_a_feature_that_the_backbone_lacks_is_refused():
    with pytest.raises(ValueError, match=r"IN_FEATURES names \['res6'\]"):
        small_model("MODEL.FUSION.IN_FEATURES", ["res6"])


@pytest.mark.parametrize("names", [[], ["res6"], ["res2", "res3"]])
def test_the_encoder_takes_features_of_the_pixel_decoder(names: list[str]):
    with pytest.raises(ValueError, match=r"ENCODER_IN_FEATURES is \[.*\]; .*\['res3', 'res4', 'res5'\]"):
        small_model(FEATURES, ALL[1:], ENCODER, names)


@pytest.mark.parametrize("chunk_size", [0, 1, 2])
@torch.no_grad()
def test_scores_by_mask_quality_are_the_classes_times_the_quality(chunk_size: int):
    """The masks stay; those that score no more than MIN_SCORE are dropped, the others come best first."""
    options = ["MODEL.MASK_FORMER.TEST.CHUNK_SIZE", chunk_size]
    video = clip(5)
    plain = small_model(*options).eval()([video])[0].tracks
    rated = small_model(*options, "MODEL.MASK_FORMER.TEST.MASK_QUALITY", True).eval()([video])[0].tracks
    assert [track.score for track in rated] == sorted((track.score for track in rated), reverse=True)
    of_masks = {repr((track.category_id, track.segmentations)): track.score for track in plain}
    qualities = [t.score / of_masks[repr((t.category_id, t.segmentations))] for t in rated]
    assert all(quality == 0 or 0.5 <= quality < 1 for quality in qualities) and any(qualities)
    least = rated[4].score
    options += ["MODEL.MASK_FORMER.TEST.MASK_QUALITY", True, "MODEL.MASK_FORMER.TEST.MIN_SCORE", least]
    kept = small_model(*options).eval()([video])[0].tracks
    assert [track.score for track in kept] == [track.score for track in rated if track.score > least]


def test_padded_size_is_that_of_the_images():
    model = small_model()
    for sizes in ([(40, 50)], [(32, 64)], [(33, 20), (10, 95)]):
        frames = [torch.zeros(3, *size) for size in sizes]
        images = ImageList.from_tensors(frames, model.size_divisibility)
        assert model.padded_size(frames) == tuple(images.tensor.shape[-2:])

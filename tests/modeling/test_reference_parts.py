"""The parts give the numbers that the reference implementations gave on the same inputs and weights.

Tolerances: the references, run in float64, agree with their float32 recordings to about 2e-6 on these sizes.
"""

from functools import partial

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec

from avis.modeling import (
    TPAVI,
    DotMaskHead,
    MSDeformAttnPixelDecoder,
    VideoHungarianMatcher,
    VideoMultiScaleMaskedTransformerDecoder,
    ms_deform_attn,
)
from avis.modeling.position_encoding import sine_embedding_2d, sine_embedding_3d
from tests.modeling.recorded import (
    REFERENCE,
    RecordedRand,
    assert_recorded,
    fill_parameters,
    normal,
    recording,
)


@pytest.mark.parametrize("case", ["a1_msda_3level_inside", "a2_msda_3level_outside"])
def test_deformable_attention_values_and_gradients(case):
    arrays = recording(case)
    inputs = [
        torch.from_numpy(arrays[name]).requires_grad_()
        for name in ("value", "sampling_locations", "attention_weights")
    ]
    output = ms_deform_attn(inputs[0], torch.from_numpy(arrays["spatial_shapes"]), *inputs[1:])
    assert_recorded(output, arrays, "output", atol=1e-6)
    output.backward(torch.from_numpy(arrays["grad_output"]))
    for tensor, name in zip(inputs, ("value", "sampling_locations", "attention_weights"), strict=True):
        assert_recorded(tensor.grad, arrays, f"grad_{name}", atol=2e-5, rtol=1e-4)


def test_pixel_decoder():
    arrays, generator = recording("b1_pixel_decoder_16x24"), np.random.default_rng(201)
    shapes = {f"res{i}": ShapeSpec(channels=128 * 2 ** (i - 1), stride=2**i) for i in range(2, 6)}
    decoder = MSDeformAttnPixelDecoder(
        shapes,
        transformer_in_features=["res3", "res4", "res5"],
        conv_dim=64,
        mask_dim=64,
        num_layers=2,
        num_heads=8,
        num_points=4,
        dim_feedforward=128,
        norm="GN",
    )
    fill_parameters(decoder)
    features = {
        name: normal(generator, 2, spec.channels, 64 // spec.stride, 96 // spec.stride).requires_grad_()
        for name, spec in shapes.items()
    }
    mask_features, levels = decoder(features)
    assert_recorded(mask_features, arrays, "mask_features", atol=1e-5, rtol=1e-4)
    levels, pyramid = levels[:3], levels[3]
    assert_recorded(decoder.mask_features(pyramid), arrays, "mask_features", atol=1e-5, rtol=1e-4)
    for index, level in enumerate(levels):
        assert_recorded(level, arrays, f"multi_scale_{index}", atol=1e-5, rtol=1e-4)

    upstream = normal(np.random.default_rng(202), *mask_features.shape)
    ((mask_features * upstream).sum() + sum((level * level).sum() for level in levels)).backward()
    gradients = torch.tensor([feature.grad.norm() for feature in features.values()])
    assert_recorded(gradients, arrays, "input_grad_norms", rtol=1e-4)


def test_position_embeddings():
    arrays, device = recording("c0_position_embeddings"), torch.device("cpu")
    for length, height, width, half in [(2, 3, 4, 32), (5, 4, 6, 16), (1, 2, 2, 8)]:
        embedding = sine_embedding_3d(2 * half, length, height, width, device)
        assert_recorded(embedding[None], arrays, f"pos3d_T{length}H{height}W{width}_n{half}", atol=1e-6)
    for height, width, half in [(3, 4, 32), (5, 7, 16)]:
        embedding = sine_embedding_2d(2 * half, height, width, device)
        assert_recorded(embedding[None], arrays, f"pos2d_H{height}W{width}_n{half}", atol=1e-6)


def _decoder() -> VideoMultiScaleMaskedTransformerDecoder:
    decoder = VideoMultiScaleMaskedTransformerDecoder(
        64,
        num_classes=7,
        hidden_dim=64,
        num_queries=20,
        num_heads=8,
        dim_feedforward=128,
        num_layers=4,
        make_mask_head=partial(DotMaskHead, 64, 64),
    )
    fill_parameters(decoder)
    return decoder


def _assert_decoder_recorded(case: str, mask_features: torch.Tensor, levels: list[torch.Tensor]) -> None:
    arrays, decoder = recording(case), _decoder().eval()
    clip = mask_features[None]
    decoded = decoder.decide([decoder.see([level[None] for level in levels], clip)])
    outputs = decoded.predictions
    names = [f"aux{index}_" for index in range(len(outputs) - 1)] + [""]
    for name, output in zip(names, outputs, strict=True):
        assert_recorded(output.class_logits, arrays, f"{name}pred_logits", atol=1e-5)
        masks = decoder.mask_embed(output.queries, clip)
        assert_recorded(masks, arrays, f"{name}pred_masks", atol=2e-5)


def test_video_decoder():
    generator = np.random.default_rng(301)
    mask_features = normal(generator, 3, 64, 16, 24)
    levels = [normal(generator, 3, 64, *size) for size in [(2, 3), (4, 6), (8, 12)]]
    _assert_decoder_recorded("c1_decoder_eval_T3", mask_features, levels)


def test_video_decoder_attends_everywhere_where_a_mask_is_empty():
    generator = np.random.default_rng(303)
    mask_features = normal(generator, 2, 64, 12, 20)
    mask_features = 0.05 * mask_features + 3 * normal(generator, 1, 64, 1, 1)
    levels = [normal(generator, 2, 64, *size) for size in [(2, 3), (3, 5), (6, 10)]]
    _assert_decoder_recorded("c3_decoder_allmasked_rows_B1T2", mask_features, levels)


def test_video_decoder_in_training():
    arrays, generator = recording("c2_decoder_train_B2T2"), np.random.default_rng(302)
    decoder = _decoder().train()
    mask_features = normal(generator, 4, 64, 16, 24).requires_grad_()
    levels = [normal(generator, 4, 64, *size).requires_grad_() for size in [(2, 3), (4, 6), (8, 12)]]
    clips = [tensor.unflatten(0, (2, 2)) for tensor in (mask_features, *levels)]
    outputs = decoder.decide([decoder.see(clips[1:], clips[0])]).predictions
    names = [f"aux{index}_" for index in range(len(outputs) - 1)] + [""]
    for name, output in zip(names, outputs, strict=True):
        assert_recorded(output.class_logits, arrays, f"{name}pred_logits", atol=1e-5)
        assert_recorded(output.mask_logits, arrays, f"{name}pred_masks", atol=2e-5)

    loss = sum(
        output.class_logits.sin().sum() + 100 * output.mask_logits.sigmoid().mean() for output in outputs
    )
    assert_recorded(loss, arrays, "loss", rtol=1e-5)
    loss.backward()
    parameters = dict(decoder.named_parameters())
    names = (REFERENCE / "decoder_param_keys.txt").read_text().split()
    assert set(names) == set(parameters)
    norms = torch.stack([parameters[name].grad.double().norm() for name in names])
    assert_recorded(norms, arrays, "param_grad_norms", rtol=1e-3, atol=1e-5)
    norms = torch.stack([tensor.grad.double().norm() for tensor in (mask_features, *levels)])
    assert_recorded(norms, arrays, "input_grad_norms", rtol=1e-3)


@pytest.mark.parametrize(
    ("case", "seed", "num_points", "clips"),
    [("e1_matcher_B2", 501, 128, 2), ("e2_matcher_more_gt_than_queries", 503, 64, 1)],
)
def test_matcher(case, seed, num_points, clips):
    arrays, rand = recording(case), RecordedRand(seed)
    matcher = VideoHungarianMatcher(2.0, 5.0, 5.0, num_points)
    for clip in range(clips):
        inputs = (
            torch.from_numpy(arrays["pred_logits"][clip]),
            torch.from_numpy(arrays["pred_masks"][clip]),
            torch.from_numpy(arrays[f"labels{clip}"]),
            torch.from_numpy(arrays[f"gt_masks{clip}"]).float(),
        )
        points = torch.from_numpy(arrays[f"points{clip}"])
        cost = matcher.cost(*inputs, lambda *_, points=points, **__: points)
        assert_recorded(cost, arrays, f"cost{clip}", atol=2e-5)
        queries, tracks = matcher(*inputs, rand)
        assert queries.tolist() == arrays[f"src{clip}"].tolist()
        assert tracks.tolist() == arrays[f"tgt{clip}"].tolist()


@pytest.mark.parametrize(
    ("case", "seed", "shape", "training"),
    [
        ("f1_tpavi_eval_T3_6x8", 601, (2, 256, 3, 6, 8), False),
        ("f3_tpavi_train_B2T2_5x6", 605, (2, 256, 2, 5, 6), True),
    ],
)
def test_tpavi_values_gradients_and_statistics(case, seed, shape, training):
    arrays, generator = recording(case), np.random.default_rng(seed)
    fusion = TPAVI(256).train(training)
    fill_parameters(fusion)
    visual = normal(generator, *shape).requires_grad_()
    audio = normal(generator, shape[0], shape[2], 128).clamp(min=0).requires_grad_()
    fused = fusion(visual, audio)
    assert_recorded(fused, arrays, "z", atol=1e-5)
    assert_recorded(fusion.align_channel(audio), arrays, "audio_temp", atol=1e-5)
    fused.backward(normal(np.random.default_rng(seed + 1), *shape))
    assert_recorded(visual.grad, arrays, "grad_x", atol=2e-5, rtol=1e-4)
    assert_recorded(audio.grad, arrays, "grad_audio", atol=2e-5, rtol=1e-3)
    if training:
        assert_recorded(fusion.W_z[1].running_mean, arrays, "running_mean_after", atol=1e-6)
        assert_recorded(fusion.W_z[1].running_var, arrays, "running_var_after", atol=1e-6)

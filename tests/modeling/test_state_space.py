"""The state-space fusion: its scan in chunks, its four orders, and its layers at any width."""

import math
from functools import partial

import pytest
import torch
from detectron2.layers import ShapeSpec
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from avis.benchmark.definitions import stepwise_scan
from avis.config import get_avis_cfg
from avis.modeling import state_space
from avis.modeling.selective_scan import selective_scan
from avis.modeling.state_space import StateSpaceBlock, StateSpaceFusion, from_four_orders, in_four_orders
from avis.modeling.temporal_fusion import TEMPORAL_FUSION_REGISTRY


def drawn_sequences(
    length: int, batch: int = 1, scans: int = 4, channels: int = 3, states: int = 2, dtype=torch.float32
) -> list[torch.Tensor]:
    """Arguments of the scan; steps and rates are as in a model that is trained."""
    wide, narrow = (length, batch, scans, channels), (length, batch, scans, states)
    steps, rates = torch.rand(wide, dtype=dtype), -4 * torch.rand(scans, channels, states, dtype=dtype)
    x, drive, readout = (torch.randn(shape, dtype=dtype) for shape in (wide, narrow, narrow))
    return [tensor.requires_grad_() for tensor in (x, steps, rates, drive, readout)]


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), batch=st.integers(1, 2), chunk=st.integers(1, 50), seed=st.integers(0, 99))
def test_chunked_scan_equals_stepwise_definition(length, batch, chunk, seed):
    torch.manual_seed(seed)
    sequences = drawn_sequences(length, batch)
    chunked, stepwise = selective_scan(*sequences, chunk_size=chunk), stepwise_scan(*sequences)
    torch.testing.assert_close(chunked, stepwise, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(chunked)
    gradients, expected = (torch.autograd.grad(y, sequences, weights) for y in (chunked, stepwise))
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_gradient_is_the_scan_s():
    sequences = drawn_sequences(5, scans=2, channels=2, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda *given: selective_scan(*given, chunk_size=2), sequences)


def test_long_fast_decays_neither_overflow_nor_vanish():
    """exp(−16) a position, over 500 of them: running products of decays would be 0."""
    x = torch.ones(500, 1, 1, 1)
    states = selective_scan(x, x, -16 * torch.ones(1, 1, 1), x, x)
    torch.testing.assert_close(states, torch.full_like(x, 1 / (1 - math.exp(-16))))


class Kept(TorchDispatchMode):
    """Keeps account of the memory that operations take, beside that of tensors there were before."""

    def __init__(self, before: list[torch.Tensor]) -> None:
        super().__init__()
        self.before = {tensor.data_ptr() for tensor in before}
        self.storages: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.before:
                self.storages[StorageWeakRef(storage)] = storage.nbytes()
        return made

    def bytes(self) -> int:
        """Those that are still held."""
        return sum(size for storage, size in self.storages.items() if not storage.expired())


def test_of_the_states_only_those_between_chunks_are_kept_for_the_gradient():
    length, channels, states = 256, 8, 16
    sequences, kept = drawn_sequences(length, channels=channels, states=states), {}
    for scan in (partial(selective_scan, chunk_size=16), stepwise_scan):
        with Kept(sequences) as account:
            output = scan(*sequences)
            kept[scan] = account.bytes() - output.nbytes
    chunked, stepwise = kept.values()
    all_states = 4 * length * 4 * channels * states
    assert stepwise > 2 * all_states and chunked <= all_states / 16


def test_four_orders():
    """Frame by frame: place t·N + n. Query by query: place n·T + t. Then both backwards."""
    frames, queries = 3, 4
    numbers = torch.arange(12.0).view(1, frames, queries, 1)
    orders = in_four_orders(numbers)[:, 0, :, 0].T.tolist()
    by_frame = [10 * t + n for t in range(frames) for n in range(queries)]
    by_query = [10 * t + n for n in range(queries) for t in range(frames)]
    named = [[10 * (int(x) // queries) + int(x) % queries for x in order] for order in orders]
    assert named == [by_frame, by_query, by_frame[::-1], by_query[::-1]]


@settings(max_examples=10, deadline=None)
@given(batch=st.integers(1, 2), frames=st.integers(1, 4), queries=st.integers(1, 4))
def test_what_four_orders_say_of_a_place_is_summed_there(batch, frames, queries):
    x = torch.randn(batch, frames, queries, 3)
    torch.testing.assert_close(from_four_orders(in_four_orders(x), frames, queries), 4 * x)


@pytest.mark.parametrize("width", [4, 24, 64])
def test_blocks_have_any_width_and_train_all_their_parameters(width):
    torch.manual_seed(0)
    block = StateSpaceBlock(width)
    frames, heard = torch.randn(2, 2, 3, 5, width).requires_grad_().unbind(0)
    output = block(frames, heard)
    assert output.shape == frames.shape
    (output * torch.randn_like(output)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())


def test_initial_values_are_mambas():
    layer = StateSpaceBlock(32).mamba
    steps = torch.nn.functional.softplus(layer.dt_projs_bias)
    assert 1e-3 * 0.999 < steps.min() < 2e-3 and 0.05 < steps.max() < 0.1001
    torch.testing.assert_close(layer.A_logs.exp(), torch.arange(1.0, 17).expand(4 * 64, 16))
    assert layer.Ds.eq(1).all()
    # Spread as those of linear layers of 64 and of 2 inputs.
    for weight, bound in ((layer.x_proj_weight, 1 / 8), (layer.dt_projs_weight, 1 / math.sqrt(2))):
        assert 0.9 * bound < weight.max() <= bound and -bound <= weight.min() < -0.9 * bound
    assert layer.x_proj_weight.shape == (4, 2 + 2 * 16, 64)


@pytest.fixture
def fusion() -> StateSpaceFusion:
    torch.manual_seed(0)
    shapes = {"queries": ShapeSpec(channels=16, height=5), "audio": ShapeSpec(channels=6)}
    options = ["MODEL.DEVICE", "cpu", "MODEL.CLIP_DECODER.ENC_LAYERS", 2, "MODEL.MASK_FORMER.NHEADS", 4]
    cfg = get_avis_cfg("configs/h2s_R50.yaml", options)
    return TEMPORAL_FUSION_REGISTRY.build("state_space", cfg, shapes)


def test_it_is_built_as_the_config_says(fusion):
    assert len(fusion.encode_av_fusion) == 2 and fusion.audio_decomp_queries.weight.shape == (5, 16)
    assert fusion.audio_decomp_attention.multihead_attn.num_heads == 4


@pytest.mark.parametrize("num_sources", [1, 3])
def test_every_parameter_has_a_gradient(fusion, num_sources):
    fusion(torch.randn(1, 3, 5, 16), torch.randn(1, 3, num_sources, 6)).sum().backward()
    assert [name for name, parameter in fusion.named_parameters() if parameter.grad is None] == []


def test_clips_of_a_batch_do_not_meet(fusion):
    frames, audio = torch.randn(2, 3, 5, 16, requires_grad=True), torch.randn(2, 3, 4, 6, requires_grad=True)
    fused = fusion(frames, audio)
    torch.testing.assert_close(fused[1:], fusion(frames[1:], audio[1:]), atol=1e-5, rtol=1e-5)
    (fused[0] * torch.randn_like(fused[0])).sum().backward()
    for inputs in (frames, audio):
        assert inputs.grad[0].abs().amax() > 0 and inputs.grad[1].abs().amax() == 0


def test_a_frame_s_sound_reaches_all_frames(fusion):
    frames, audio = torch.randn(1, 4, 5, 16), torch.randn(1, 4, 3, 6)
    louder = audio.clone()
    louder[:, 2] *= 3
    changed = (fusion(frames, audio) - fusion(frames, louder)).abs().amax(dim=(0, 2, 3))
    assert (changed > 1e-7).all()


def test_the_order_of_the_sources_says_nothing(fusion):
    frames, audio = torch.randn(1, 3, 5, 16), torch.randn(1, 3, 4, 6)
    torch.testing.assert_close(fusion(frames, audio), fusion(frames, audio.flip(2)), atol=1e-5, rtol=1e-5)


def test_the_scan_stays_in_float32_under_autocast(fusion):
    """The projections round to bfloat16, three digits; a scan in it would lose more with every position."""
    frames, audio = torch.randn(1, 20, 5, 16), torch.randn(1, 20, 3, 6)
    plain = fusion(frames, audio)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = fusion(frames, audio)
    assert rounded.dtype == torch.float32 and (rounded - plain).abs().amax() < 0.1


@torch.no_grad()
def test_scans_in_pieces_are_those_of_all_positions_at_once(monkeypatch):
    torch.manual_seed(0)
    layer = state_space.GatedStateSpace(16).eval()
    nn.init.normal_(layer.audio_gate.temporal_conv.weight)  # so that neighbours matter
    frames, heard = torch.randn(2, 2, 7, 5, 16).unbind()
    at_once = layer(frames, heard)
    for positions in (1, 4, 34):
        monkeypatch.setattr(state_space, "_POSITIONS_AT_ONCE", positions)
        # float32 sums of the four scans in another order
        torch.testing.assert_close(layer(frames, heard), at_once, atol=1e-6, rtol=1e-5)

"""TPAVI's linear form, and its parameters."""

from ast import literal_eval

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.benchmark.definitions import quadratic_tpavi
from avis.modeling import TPAVI
from tests.modeling.recorded import REFERENCE


@settings(max_examples=15, deadline=None)
@given(
    clips=st.integers(1, 2),
    frames=st.integers(1, 4),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    training=st.booleans(),
)
def test_linear_form_equals_quadratic_definition(clips, frames, height, width, training):
    torch.manual_seed(0)
    fusion = TPAVI(8, audio_dim=6).double().train(training and clips * frames * height * width > 1)
    torch.nn.init.normal_(fusion.W_z[1].weight)  # it starts at 0, which would hide the attention
    visual = torch.randn(clips, 8, frames, height, width, dtype=torch.double)
    audio = torch.randn(clips, frames, 6, dtype=torch.double)
    torch.testing.assert_close(fusion(visual, audio), quadratic_tpavi(fusion, visual, audio))


def test_starts_as_the_layer_norm_of_the_visual_features():
    fusion, visual = TPAVI(8), torch.randn(1, 8, 2, 3, 4)
    expected = fusion.norm_layer(visual.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(fusion(visual, torch.randn(1, 2, 128)), expected)


def test_clips_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="1 clips × 2 frames"):
        TPAVI(8)(torch.randn(1, 8, 2, 3, 4), torch.randn(1, 3, 128))


def test_avsbenchs_state_dict_loads_as_it_is():
    lines = (REFERENCE / "tpavi_256_keys.tsv").read_text().splitlines()
    shapes = {name: literal_eval(shape) for name, shape in (line.split("\t") for line in lines)}
    state = {name: torch.full(shape, 2) for name, shape in shapes.items()}
    fusion = TPAVI(256)
    fusion.load_state_dict(state)  # refuses a name that is missing or unknown, and another shape
    assert all(value.eq(2).all() for value in fusion.state_dict().values())


@pytest.fixture
def two_clips() -> tuple[TPAVI, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    fusion = TPAVI(8, audio_dim=6).eval()
    torch.nn.init.normal_(fusion.W_z[1].weight)
    return fusion, torch.randn(2, 8, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 6, requires_grad=True)


def test_clips_of_a_batch_are_fused_each_by_itself(two_clips):
    fusion, visual, audio = two_clips
    alone = [fusion(visual[i : i + 1], audio[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(fusion(visual, audio), torch.cat(alone))


def test_a_clip_s_gradients_do_not_reach_another(two_clips):
    fusion, visual, audio = two_clips
    fusion(visual, audio)[0].square().sum().backward()
    for inputs in (visual, audio):
        assert inputs.grad[0].abs().amax() > 0
        assert inputs.grad[1].abs().amax() == 0

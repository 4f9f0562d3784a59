"""Parameters that MODEL.FREEZE keeps."""

import pytest

from tests.modeling.test_avis_mask_former import small_model


def test_parameters_are_frozen_by_patterns_of_their_names():
    free, kept = small_model(), small_model("MODEL.FREEZE", ["fusion.res?.g.*", "*.query_feat.weight"])
    learns = {name: parameter.requires_grad for name, parameter in free.named_parameters()}
    changed = {name for name, p in kept.named_parameters() if p.requires_grad != learns[name]}
    of_fusion = {f"fusion.res{n}.g.{kind}" for n in (3, 4, 5) for kind in ("weight", "bias")}
    assert changed == of_fusion | {"sem_seg_head.predictor.query_feat.weight"}


def test_a_pattern_of_nothing_is_refused():
    with pytest.raises(
        ValueError, match=r"MODEL\.FREEZE has 'bakbone\.\*', which is the name of no parameter"
    ):
        small_model("MODEL.FREEZE", ["bakbone.*"])

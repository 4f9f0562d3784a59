"""The losses of frame and clip predictions, of similarity and of counting, against their definitions."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avis.modeling.criterion import ClipTargets
from avis.modeling.decoder import Decoded, DecoderOutput
from avis.modeling.family_losses import CountLoss, SimilarityLoss
from avis.modeling.losses import PredictionLoss
from tests.modeling.fixed_points import fixed_points
from tests.modeling.test_avis_mask_former import clip, small_model

FRAMES, CLIPS, C = 3, 2, 8


def targets() -> list[ClipTargets]:
    """The first clip has tracks 7 and 9, of which 9 is silent in frame 0; the second has track 7."""
    masks = torch.zeros(2, FRAMES, 8, 8)
    masks[0, :, :4], masks[1, 1:, 4:] = 1, 1
    counts = torch.tensor([1, 2, 3])
    first = ClipTargets(torch.tensor([0, 1]), masks, torch.tensor([7, 9]), counts)
    second = ClipTargets(torch.tensor([2]), masks[:1], torch.tensor([7]), torch.tensor([0, 1, 5]))
    return [first, second]


def test_frames_have_the_tracks_that_sound_in_them():
    first, second = targets()
    assert [frame.ids.tolist() for frame in first.frames] == [[7], [7, 9], [7, 9]]
    assert [frame.classes.tolist() for frame in first.frames] == [[0], [0, 1], [0, 1]]
    assert [frame.masks.shape for frame in second.frames] == [(1, 1, 8, 8)] * 3
    torch.testing.assert_close(first.frames[1].masks[1, 0], first.masks[1, 1])


@pytest.mark.parametrize("num_layers", [1, 2])
def test_similarity_is_of_pairs_within_a_layer_of_a_clip(num_layers: int):
    torch.manual_seed(0)
    loss = SimilarityLoss(C, weight=0.5)
    frames = torch.randn(num_layers * CLIPS, FRAMES, 5, C)
    clips = torch.randn(num_layers * CLIPS, 4, C)
    # Of each layer, final one first: for each frame of each clip, queries and the tracks of that frame.
    in_frame = [
        (torch.tensor([1]), torch.tensor([0])),
        (torch.tensor([0, 3]), torch.tensor([1, 0])),
        (torch.tensor([2, 4]), torch.tensor([0, 1])),
        *[(torch.tensor([4]), torch.tensor([0]))] * FRAMES,
    ]
    shifted = [((queries + 1) % 5, tracks) for queries, tracks in in_frame]
    of_clip = [(torch.tensor([0, 2]), torch.tensor([1, 0])), (torch.tensor([3]), torch.tensor([0]))]
    matches = {
        "frame_prediction": [in_frame, [], shifted],
        "clip_prediction": [of_clip * num_layers],
    }
    prediction = DecoderOutput(torch.zeros(num_layers * CLIPS, 4, 3), clips)
    decoded = Decoded([prediction], torch.zeros(1), {"frame_queries": frames})
    (found,) = loss(decoded, targets(), matches).values()

    # The layers whose queries are joined are the last: the one before the final, then the final one.
    layers = [shifted, in_frame][-num_layers:]
    terms: list[Tensor] = []
    for layer in range(num_layers):
        for number, target in enumerate(targets()):
            index = layer * CLIPS + number
            embeddings, ids = [], []
            for frame in range(FRAMES):
                queries, tracks = layers[layer][number * FRAMES + frame]
                seen = target.ids[target.masks[:, frame].flatten(1).any(1)]
                embeddings.append(loss.sim_embed_frame(frames[index, frame, queries]))
                ids += seen[tracks].tolist()
            queries, tracks = of_clip[number]
            embeddings.append(loss.sim_embed_clip(clips[index, queries]))
            ids += target.ids[tracks].tolist()
            all_embeddings = torch.cat(embeddings)
            for a, id_a in zip(all_embeddings, ids, strict=True):
                for b, id_b in zip(all_embeddings, ids, strict=True):
                    same = torch.tensor(float(id_a == id_b))
                    terms.append(F.binary_cross_entropy_with_logits(a @ b, same))
    torch.testing.assert_close(found, 0.5 * torch.stack(terms).mean(), atol=1e-5, rtol=1e-5)


def test_similarity_comes_after_what_matches():
    decoded = Decoded([], torch.zeros(1), {})
    with pytest.raises(ValueError, match=r"takes the matches of \['clip_prediction'\].*listed before"):
        SimilarityLoss(C)(decoded, targets(), {"frame_prediction": []})


def test_count_asks_a_rank_of_frames_that_passed_the_one_before():
    torch.manual_seed(1)
    loss = CountLoss(C, weight=2.0)
    token = torch.randn(CLIPS * FRAMES, 1, C)
    output = DecoderOutput(torch.zeros(6, 5, 3), torch.zeros(6, 5, C), extra=token)
    decoded = Decoded([], torch.zeros(1), {"frame_predictions": [output]})
    (found,) = loss(decoded, targets(), {}).values()
    terms = []
    for count, logits in zip([1, 2, 3, 0, 1, 5], loss.cnt_proj(token[:, 0]), strict=True):
        terms.append(F.binary_cross_entropy_with_logits(logits[0], torch.tensor(float(count > 0))))
        if count >= 1:
            terms.append(F.binary_cross_entropy_with_logits(logits[1], torch.tensor(float(count > 1))))
    torch.testing.assert_close(found, 2 * torch.stack(terms).mean())


def test_count_says_what_it_lacks():
    loss = CountLoss(C)
    output = DecoderOutput(torch.zeros(6, 5, 3), torch.zeros(6, 5, C))
    with pytest.raises(ValueError, match="FrameClipDecoder has them"):
        loss(Decoded([output], torch.zeros(1)), targets(), {})
    decoded = Decoded([], torch.zeros(1), {"frame_predictions": [output]})
    with pytest.raises(ValueError, match="AUDIO_QUERY centric"):
        loss(decoded, targets(), {})
    output.extra = torch.zeros(6, 1, C)
    with pytest.raises(ValueError, match="num_sounding"):
        loss(decoded, [replace(target, num_sounding=None) for target in targets()], {})


FAMILY = [
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", "FrameClipDecoder", "MODEL.MASK_FORMER.MASK_HEAD", "dot",
    "MODEL.FUSION.NAME", "", "MODEL.CLIP_DECODER.NUM_QUERIES", 6, "MODEL.CLIP_DECODER.DIM_FEEDFORWARD", 32,
    "MODEL.CLIP_DECODER.ENC_LAYERS", 2, "MODEL.CLIP_DECODER.FRAME_LAYERS", 1,
]  # fmt: skip


def test_of_one_frame_and_layer_clip_and_plain_prediction_losses_are_the_same():
    """The masks of all frames as one mask are, of one frame, the mask of the frame."""
    losses = {}
    for name in ("prediction", "clip_prediction"):
        model = small_model(*FAMILY, "MODEL.LOSSES.NAMES", [name]).train()
        model.criterion.terms[name].criterion.rand = fixed_points
        torch.manual_seed(2)
        losses[name] = model([clip(1)])
    plain = {name.replace("loss_", "loss_clip_"): value for name, value in losses["prediction"].items()}
    assert plain.keys() == losses["clip_prediction"].keys()
    torch.testing.assert_close(losses["clip_prediction"], plain)


def test_two_clips_cost_what_each_costs():
    """Class losses are means over clips; those of masks are divided by the tracks of all."""
    model = small_model(*FAMILY, "MODEL.LOSSES.NAMES", ["clip_prediction"], "MODEL.AUDIO.NAME", "").train()
    term: PredictionLoss = model.criterion.terms["clip_prediction"]
    term.criterion.rand = fixed_points
    torch.manual_seed(2)
    clips = [clip(3), clip(3)]
    both, *apart = (model(batch) for batch in (clips, clips[:1], clips[1:]))
    for name, loss in both.items():
        if "_ce" not in name:
            torch.testing.assert_close(loss, (apart[0][name] + apart[1][name]) / 2, atol=1e-4, rtol=1e-4)

"""The further loss terms of AVISM and ACVIS: which queries are of one object, and how many objects sound.

"similarity" is that of Heo et al., "VITA", NeurIPS 2022, which AVISM takes over. "count" is the sound-aware
ordinal counting of ACVIS (Seo et al., "Learning What To Hear", ICASSP 2026).

Dimensions: B clips, T frames, L layers of frame queries, N frame queries, M clip queries, C channels, K
matched queries of a clip, R ranks of a count.
"""

from collections.abc import Iterator

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling.clip_targets import ClipTargets, batch_of
from avis.modeling.criterion import Match
from avis.modeling.decoder import Decoded
from avis.modeling.losses import LOSS_REGISTRY, Loss, Matches, extra_of
from avis.modeling.whole_batch import ClipFacts
from avis.registry import Shapes

# Ranks of a count: more than none, more than one.
_NUM_RANKS = 2


@LOSS_REGISTRY.register(name="similarity")
class SimilarityLoss(Loss):
    """Embeddings of matched frame and clip queries shall be alike if their object is the same."""

    @configurable
    def __init__(self, hidden_dim: int, weight: float = 1.0) -> None:
        """Make the two embeddings, C → C, and keep the weight of the loss."""
        super().__init__()
        self.sim_embed_frame = nn.Linear(hidden_dim, hidden_dim)
        self.sim_embed_clip = nn.Linear(hidden_dim, hidden_dim)
        self.weight = weight

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {"hidden_dim": shapes["queries"].channels, "weight": cfg.MODEL.LOSSES.SIMILARITY_WEIGHT}

    def forward(self, decoded: Decoded, targets: list[ClipTargets], matches: Matches) -> dict[str, Tensor]:
        """See `Loss.forward`.

        Raises:
            ValueError: nothing has matched frame and clip queries before.
        """
        if missing := {"frame_prediction", "clip_prediction"} - matches.keys():
            raise ValueError(
                f"MODEL.LOSSES.NAMES: similarity takes the matches of {sorted(missing)}, "
                "so these are listed before it"
            )
        frames = self.sim_embed_frame(extra_of(decoded, "frame_queries", "similarity"))
        clips = self.sim_embed_clip(decoded.predictions[-1].queries)
        # Matches are of the final prediction first.
        final, *others = matches["frame_prediction"]
        num_layers = len(frames) // len(targets)
        layers = [*others, final][-num_layers:]
        total = frames.new_zeros(())
        groups = self._groups(frames, clips, targets * num_layers, layers, matches["clip_prediction"][0])
        for embeddings, ids in groups:
            logits = embeddings @ embeddings.T
            same = (ids[:, None] == ids).to(logits)
            total = total + F.binary_cross_entropy_with_logits(logits, same, reduction="sum")
        num_queries = frames.shape[2], clips.shape[1]
        num_pairs = num_layers * batch_of(targets).mean(lambda clip: _num_pairs(clip, *num_queries))
        return {"loss_similarity": self.weight * total / (num_pairs + 1e-6)}

    def _groups(
        self,
        frames: Tensor,
        clips: Tensor,
        targets: list[ClipTargets],
        frame_matches: list[list[Match]],
        clip_matches: list[Match],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Embeddings (K, C) and track ids (K,) of the matched queries of each layer of each clip."""
        num_frames = frames.shape[1]
        by_clip = [
            of_layer[start : start + num_frames]
            for of_layer in frame_matches
            for start in range(0, len(of_layer), num_frames)
        ]
        for of_frames, of_clip, target, frame_match, clip_match in zip(
            frames, clips, targets, by_clip, clip_matches, strict=True
        ):
            pairs = [(of_clip, target.ids, clip_match)]
            pairs += [
                (queries, frame.ids, match)
                for queries, frame, match in zip(of_frames, target.frames, frame_match, strict=True)
            ]
            embeddings = torch.cat([queries[matched] for queries, _, (matched, _) in pairs])
            yield embeddings, torch.cat([ids[tracks] for _, ids, (_, tracks) in pairs])


def _num_pairs(clip: ClipFacts, num_frame_queries: int, num_clip_queries: int) -> int:
    """Pairs of a clip's K matched queries."""
    in_frames = sum(min(num_frame_queries, number) for number in clip.in_frames)
    return (in_frames + min(num_clip_queries, clip.num_tracks)) ** 2


@LOSS_REGISTRY.register(name="count")
class CountLoss(Loss):
    """The extra token of each frame tells whether more than none, and more than one object sounds.

    A rank is asked of the frames alone that pass the one before (ordinal regression).
    """

    @configurable
    def __init__(self, hidden_dim: int, weight: float = 1.0) -> None:
        """Make the layer C → R, and keep the weight of the loss."""
        super().__init__()
        self.cnt_proj = nn.Linear(hidden_dim, _NUM_RANKS)
        self.weight = weight

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {"hidden_dim": shapes["queries"].channels, "weight": cfg.MODEL.LOSSES.COUNT_WEIGHT}

    def forward(self, decoded: Decoded, targets: list[ClipTargets], matches: Matches) -> dict[str, Tensor]:
        """See `Loss.forward`.

        Raises:
            ValueError: the decoder has no extra token, or the clips do not say what sounds.
        """
        token = extra_of(decoded, "frame_predictions", "count")[-1].extra
        if token is None:
            raise ValueError(
                "MODEL.LOSSES.NAMES has 'count', which needs an extra token; "
                "MODEL.MASK_FORMER.AUDIO_QUERY centric has one"
            )
        if any(target.num_sounding is None for target in targets):
            raise ValueError("the loss 'count' needs num_sounding (T,) of each clip")
        counts = torch.cat([target.num_sounding for target in targets]).clamp(max=_NUM_RANKS)
        logits = self.cnt_proj(token[:, 0])
        ranks = torch.arange(_NUM_RANKS, device=counts.device)
        asked, passed = counts[:, None] >= ranks, counts[:, None] > ranks
        terms = F.binary_cross_entropy_with_logits(logits, passed.to(logits), reduction="none")
        return {"loss_count": self.weight * (terms * asked).sum() / batch_of(targets).mean(_num_asked)}


def _num_asked(clip: ClipFacts) -> int:
    """Ranks that are asked of a clip's frames."""
    return sum(min(number + 1, _NUM_RANKS) for number in clip.num_sounding)

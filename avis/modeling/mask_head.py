"""Mask heads: decoded queries and per-pixel embeddings to one mask per query and frame.

"residual" is Eq. (1) of Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709; "dot" is the dot
product of Cheng et al., "Masked-attention Mask Transformer", CVPR 2022. A new head is a subclass of
`MaskHead` in MASK_HEAD_REGISTRY, named by MODEL.MASK_FORMER.MASK_HEAD.

Dimensions: B clips, T frames, N queries, C channels, H×W the per-pixel embeddings' size, X = T·H·W pixels,
h×w another size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn
from torch.nn import functional as F

from avis.kernels import matched_product
from avis.modeling.layers import MLP
from avis.modeling.recomputing import recomputed
from avis.registry import PartRegistry, Shapes

MASK_HEAD_REGISTRY = PartRegistry("MODEL.MASK_FORMER.MASK_HEAD")
MASK_HEAD_REGISTRY.__doc__ = """Subclasses of MaskHead; shapes: "queries" (channels C, height N) and
"mask_features"."""

# Frames whose N full masks are held at once where only resized ones are wanted.
_FRAMES_AT_ONCE = 8


class MaskHead(nn.Module, ABC):
    """What the video decoder asks of a mask head."""

    @abstractmethod
    def forward(self, queries: Tensor, mask_features: Tensor, selected: Tensor | None = None) -> Tensor:
        """Mask logits.

        Args:
            queries: (B, N, C), normalised outputs of the decoder.
            mask_features: (B, T, C, H, W) per-pixel embeddings.
            selected: (S,) indices of the queries whose masks are wanted; None for all.

        Returns:
            (B, N or S, T, H, W).
        """

    def on(self, mask_features: Tensor) -> Callable[[Tensor], Tensor]:
        """`forward` of all queries on these embeddings, for several layers' queries (B, N, C).

        A head whose masks have a part that no query changes computes it here, once.
        """
        return lambda queries: self(queries, mask_features)

    def resized(self, queries: Tensor, mask_features: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, N, T, h, w): the logits of `forward` interpolated to `size`."""
        chunks = mask_features.split(_FRAMES_AT_ONCE, dim=1)
        return torch.cat([resize_frames(self(queries, chunk), size) for chunk in chunks], dim=2)


@MASK_HEAD_REGISTRY.register(name="dot")
class DotMaskHead(MaskHead, MLP):
    """Dot product of an MLP of the query with each pixel's embedding.

    It is an MLP itself, rather than holding one, so that its parameters have Mask2Former's names.
    """

    @configurable
    def __init__(self, hidden_dim: int, mask_dim: int) -> None:
        """Make the MLP."""
        MLP.__init__(self, hidden_dim, hidden_dim, mask_dim, 3)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {"hidden_dim": shapes["queries"].channels, "mask_dim": shapes["mask_features"].channels}

    def forward(self, queries: Tensor, mask_features: Tensor, selected: Tensor | None = None) -> Tensor:
        """See `MaskHead.forward`."""
        queries = queries if selected is None else queries[:, selected]
        logits = matched_product(MLP.forward(self, queries), _pixels(mask_features).mT)
        return logits.unflatten(-1, _grid(mask_features))

    def resized(self, queries: Tensor, mask_features: Tensor, size: tuple[int, int]) -> Tensor:
        """See `MaskHead.resized`. The head is linear in the embeddings, so these are resized instead."""
        return self(queries, resize_frames(mask_features, size))


@MASK_HEAD_REGISTRY.register(name="residual")
class ResidualMaskHead(MaskHead):
    """Eq. (1): M = Linear(Ẑ + MLP(Ẑ·Q)), where all queries' responses at a pixel refine its embedding."""

    @configurable
    def __init__(self, hidden_dim: int, mask_dim: int, num_queries: int) -> None:
        """Make the MLP, N → C, and the linear layer, C → N.

        Raises:
            ValueError: queries and embeddings differ in channels, so that Eq. (1) has no dot product.
        """
        super().__init__()
        if hidden_dim != mask_dim:
            raise ValueError(
                f"the residual mask head needs MASK_FORMER.HIDDEN_DIM ({hidden_dim}) equal to "
                f"SEM_SEG_HEAD.MASK_DIM ({mask_dim})"
            )
        self.mlp = MLP(num_queries, mask_dim, mask_dim, 2)
        self.linear = nn.Linear(mask_dim, num_queries)
        self._start_as_dot_product()

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        queries, mask_features = shapes["queries"], shapes["mask_features"]
        return {
            "hidden_dim": queries.channels,
            "mask_dim": mask_features.channels,
            "num_queries": queries.height,
        }

    @torch.no_grad()
    def _start_as_dot_product(self) -> None:
        """Start with Linear(MLP(r)) = r / √C for the responses r = Ẑ·Q.

        The paper leaves the start open. With random weights the static term, Linear(Ẑ), outweighs what the
        queries say, and a query comes to stand for a class of pixels rather than for an object.

        A response needs two of the C hidden units, as relu(r) - relu(-r) = r. Of more than C/2 queries, the
        last ones have one, for relu(r). Of more than C, some share theirs.
        """
        first, second = self.mlp.layers
        num_queries, channels = first.in_features, first.out_features
        used = min(num_queries, channels)
        spare = min(channels - used, used)
        unit_of_query = F.one_hot(torch.arange(num_queries) % used, used).float()
        first.weight[:used] = unit_of_query.T
        first.weight[used : used + spare] = -first.weight[:spare]
        nn.init.zeros_(first.bias[: used + spare])
        nn.init.zeros_(second.weight)
        back = nn.init.orthogonal_(self.linear.weight).T @ unit_of_query * channels**-0.5
        second.weight[:, :used], second.weight[:, used : used + spare] = back, -back[:, :spare]
        nn.init.zeros_(second.bias)
        nn.init.zeros_(self.linear.bias)

    def forward(self, queries: Tensor, mask_features: Tensor, selected: Tensor | None = None) -> Tensor:
        """See `MaskHead.forward`."""
        pixels = _pixels(mask_features)
        logits = self._dynamic(queries, pixels, selected) + self._static(pixels, selected)
        return logits.unflatten(-1, _grid(mask_features))

    def on(self, mask_features: Tensor) -> Callable[[Tensor], Tensor]:
        """See `MaskHead.on`."""
        pixels, grid = _pixels(mask_features), _grid(mask_features)
        static = self._static(pixels)
        return lambda queries: (self._dynamic(queries, pixels) + static).unflatten(-1, grid)

    # With L the linear layer, L(Ẑ + W·hidden + b) = L(Ẑ + b) + (L·W)·hidden: what queries do not change, and
    # what they do.

    def _static(self, pixels: Tensor, selected: Tensor | None = None) -> Tensor:
        """(B, N or S, X) from pixels (B, X, C)."""
        weight, bias = self._linear(selected)
        shift = F.linear(self.mlp.layers[1].bias, weight, bias)
        return weight @ pixels.mT + shift[:, None]

    def _dynamic(self, queries: Tensor, pixels: Tensor, selected: Tensor | None = None) -> Tensor:
        """(B, N or S, X) from queries (B, N, C) and pixels (B, X, C).

        The hidden units of all pixels are far more than everything else that a layer would keep for the
        gradients. They are computed again for these.
        """
        return recomputed(self._refinement, queries, pixels, selected)

    def _refinement(self, queries: Tensor, pixels: Tensor, selected: Tensor | None) -> Tensor:
        first, second = self.mlp.layers
        hidden = F.relu(first(pixels @ queries.mT))
        weight, _ = self._linear(selected)
        return matched_product(weight @ second.weight, hidden.mT)

    def _linear(self, selected: Tensor | None) -> tuple[Tensor, Tensor]:
        weight, bias = self.linear.weight, self.linear.bias
        return (weight, bias) if selected is None else (weight[selected], bias[selected])


def _pixels(mask_features: Tensor) -> Tensor:
    """(B, T, C, H, W) to (B, X, C) with X = T·H·W; without a copy where channels are last in memory."""
    return mask_features.movedim(2, -1).flatten(1, 3)


def _grid(mask_features: Tensor) -> tuple[int, int, int]:
    """T, H, W of (B, T, C, H, W)."""
    return mask_features.shape[1], *mask_features.shape[-2:]


def resize_frames(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, A, B', H, W) to (B, A, B', h, w), bilinear, corners not aligned."""
    flat = F.interpolate(x.flatten(0, 1), size=size, mode="bilinear", align_corners=False)
    return flat.unflatten(0, x.shape[:2])

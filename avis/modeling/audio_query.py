"""Audio queries: how the sound enters a decoder's queries before its first layer.

"mean" is the audio query of Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709: it adds the
projected mean audio feature of the clip to every query.

Dimensions: B clips, N queries, E extra tokens, C channels, K pixels of a level, S audio tokens, A audio
    channels.
"""

from abc import ABC, abstractmethod

from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from avis.registry import PartRegistry, Shapes

AUDIO_QUERY_REGISTRY = PartRegistry("MODEL.MASK_FORMER.AUDIO_QUERY")
AUDIO_QUERY_REGISTRY.__doc__ = """Subclasses of AudioQuery; shapes: "queries" (channels C, height N), "levels"
and "audio"."""


class AudioQuery(nn.Module, ABC):
    """Lets the sound into the queries.

    Attributes:
        num_extra: E, tokens that it puts in front of the queries. They attend to all pixels, have no class
            and no mask, and losses find them in `DecoderOutput.extra`.
    """

    num_extra = 0

    @abstractmethod
    def forward(
        self, queries: Tensor, query_embed: Tensor, levels: list[Tensor], audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give the queries with which a decoder begins.

        Args:
            queries: (B, N, C) learnable queries.
            query_embed: (N, C) their position embedding.
            levels: pixels of each feature level, coarse to fine, (B, K_i, C).
            audio: (B, S, A); the frames' features one after the other where the decoder sees a whole clip.

        Returns:
            Queries (B, E + N, C) and their embedding (E + N, C).
        """


@AUDIO_QUERY_REGISTRY.register(name="mean")
class MeanAudioQuery(AudioQuery, nn.Linear):
    """Adds the projected mean of the audio features to every query.

    It is the projection itself, rather than holding it, so that checkpoints keep their names.
    """

    @configurable
    def __init__(self, audio_dim: int, hidden_dim: int) -> None:
        """Make the projection, A → C."""
        nn.Linear.__init__(self, audio_dim, hidden_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {"audio_dim": shapes["audio"].channels, "hidden_dim": shapes["queries"].channels}

    def forward(
        self, queries: Tensor, query_embed: Tensor, levels: list[Tensor], audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `AudioQuery.forward`."""
        return queries + nn.Linear.forward(self, audio.mean(dim=1, keepdim=True)), query_embed

"""Sounding gate: whether the object of a query sounds in a frame, by the query and the frame's sound.

A proposal of this project. The audio query of the baseline hears the mean of a clip, and the fusion tells
pixels little of their own frame's sound. So masks often begin and end where an object is seen, not where it
is heard. The gate closes the masks of a query in frames in which nothing sounds like it.

Dimensions: B clips, T frames, N queries, C channels, S audio sources, A audio channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The gate's logit at the start: open, so that it takes off little from the masks.
_OPEN = 4.0


class SoundingGate(nn.Module):
    """The log-probability that a query's object sounds in a frame, to be added to its mask logits."""

    def __init__(self, audio_dim: int, hidden_dim: int) -> None:
        """Make the projections A → C and C → C. At the start the gate is open for every query and sound."""
        super().__init__()
        self.query_proj = nn.Linear(hidden_dim, hidden_dim)
        self.sound_proj = nn.Linear(audio_dim, hidden_dim)
        self.bias = nn.Parameter(torch.tensor(_OPEN))
        nn.init.zeros_(self.sound_proj.weight)
        nn.init.zeros_(self.sound_proj.bias)

    def forward(self, queries: Tensor, audio: Tensor) -> Tensor:
        """(B, N, T), at most 0, from normalised queries (B, N, C) and audio features (B, T, S, A)."""
        sounds = self.sound_proj(audio.sum(dim=2))
        agreement = self.query_proj(queries) @ sounds.transpose(1, 2) * queries.shape[-1] ** -0.5
        return F.logsigmoid(agreement + self.bias)

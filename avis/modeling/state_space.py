"""The temporal fusion "state_space": frame queries and sound in a state-space model over time.

Follows the clip module of H2S (Liu et al., "Hear to See", ACM MM 2026), with its parameter names. Learnable
queries hear the sources of each frame. Blocks of a selective scan read the frame queries, and what is heard
sets the step sizes. A scan reads frames one after the other, or query by query, forwards or backwards.
So neighbours in the order of the queries influence each other.

Dimensions: B clips, T frames, N frame queries, L = T·N positions, S audio sources, A audio channels, C
channels, D = 2C inner channels, J = 4 scans, H states of a channel, Q = C / 16 channels that tell step sizes.
"""

import math

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling.selective_scan import scan_on
from avis.modeling.source_decomposition import SourceDecomposition
from avis.modeling.temporal_fusion import TEMPORAL_FUSION_REGISTRY, TemporalFusion
from avis.registry import Shapes

_EXPANSION, _NUM_SCANS, _NUM_STATES = 2, 4, 16
# Positions of a whole video that the scans read at once.
_POSITIONS_AT_ONCE = 2048
# Step sizes at the start, as in Mamba.
_SHORTEST_STEP, _LONGEST_STEP = 1e-3, 0.1


@TEMPORAL_FUSION_REGISTRY.register(name="state_space")
class StateSpaceFusion(SourceDecomposition, TemporalFusion):
    """Decomposes the sound of every frame, and lets it steer state-space blocks over the frame queries."""

    @configurable
    def __init__(
        self, audio_dim: int, embed_dim: int, num_queries: int, *, num_heads: int, num_layers: int
    ) -> None:
        """Make the layers, for audio of A = `audio_dim` and N queries of C = `embed_dim` channels."""
        super().__init__(num_queries, embed_dim, num_heads)
        self.av_proj = nn.Linear(audio_dim, embed_dim)
        self.encode_av_fusion = nn.ModuleList(StateSpaceBlock(embed_dim) for _ in range(num_layers))

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {
            "audio_dim": shapes["audio"].channels,
            "embed_dim": shapes["queries"].channels,
            "num_queries": shapes["queries"].height,
            "num_heads": cfg.MODEL.MASK_FORMER.NHEADS,
            "num_layers": cfg.MODEL.CLIP_DECODER.ENC_LAYERS,
        }

    def forward(self, frames: Tensor, audio: Tensor) -> Tensor:
        """See `TemporalFusion.forward`."""
        heard = self.decompose(self.av_proj(audio.flatten(0, 1))).unflatten(0, frames.shape[:2])
        for block in self.encode_av_fusion:
            frames = block(frames, heard)
        return frames


class StateSpaceBlock(nn.Module):
    """A state-space layer and an MLP, each with residual, then norm."""

    def __init__(self, embed_dim: int) -> None:
        """Make the layers."""
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim)
        self.mamba = GatedStateSpace(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.mlp = _FeedForward(embed_dim, 4 * embed_dim)

    def forward(self, frames: Tensor, heard: Tensor) -> Tensor:
        """Frame queries (B, T, N, C), with what is heard for each, to (B, T, N, C)."""
        frames = self.norm1(frames + self.mamba(frames, heard))
        return self.norm2(frames + self.mlp(frames))


class _FeedForward(nn.Module):
    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GatedStateSpace(nn.Module):
    """Four selective scans over the frame queries, with step sizes that the sound changes."""

    def __init__(self, embed_dim: int) -> None:
        """Make the layers."""
        super().__init__()
        inner, self.rank = _EXPANSION * embed_dim, math.ceil(embed_dim / 16)
        self.in_proj = nn.Linear(embed_dim, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.audio_proj_1 = nn.Linear(embed_dim, inner)
        self.audio_gate = AudioGate(inner)
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, embed_dim, bias=False)
        told = self.rank + 2 * _NUM_STATES
        self.x_proj_weight = nn.Parameter(_uniform(_NUM_SCANS, told, inner, bound=inner**-0.5))
        self.dt_projs_weight = nn.Parameter(_uniform(_NUM_SCANS, inner, self.rank, bound=self.rank**-0.5))
        self.dt_projs_bias = nn.Parameter(_initial_steps(_NUM_SCANS, inner))
        rates = torch.arange(1, _NUM_STATES + 1, dtype=torch.float32).log()
        self.A_logs = nn.Parameter(rates.repeat(_NUM_SCANS * inner, 1))
        self.Ds = nn.Parameter(torch.ones(_NUM_SCANS * inner))

    def forward(self, frames: Tensor, heard: Tensor) -> Tensor:
        """Frame queries (B, T, N, C), with what is heard for each, to (B, T, N, C)."""
        x, gate = self.in_proj(frames).chunk(2, dim=-1)
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        sounds = self.audio_proj_1(heard)
        is_long = not self.training and frames[0, ..., 0].numel() > _POSITIONS_AT_ONCE
        scan = self._scan_in_pieces if is_long else self._scan_at_once
        with torch.autocast(frames.device.type, enabled=False):
            joined = scan(x.float(), sounds.float())
        return self.out_proj(self.out_norm(joined) * F.silu(gate))

    def _scan_at_once(self, x: Tensor, sounds: Tensor) -> Tensor:
        """The sum of the four scans, (B, T, N, D) in and out."""
        x_in_orders = in_four_orders(x)
        gate = self.audio_gate(in_four_orders(sounds))
        scanned, _ = self._scan(self._initial_state(x), x_in_orders, gate)
        return from_four_orders(scanned, *x.shape[1:3])

    def _scan_in_pieces(self, x: Tensor, sounds: Tensor) -> Tensor:
        """What `_scan_at_once` gives, with a part of the positions of each scan in memory at a time."""
        num_frames, num_queries = x.shape[1:3]
        flat, flat_sounds = x.flatten(1, 2), sounds.flatten(1, 2)
        places = torch.arange(num_frames * num_queries, device=x.device).view(1, num_frames, num_queries, 1)
        orders = in_four_orders(places)[:, 0, :, 0]  # (L, J): which place each scan reads when
        state, joined = self._initial_state(x), torch.zeros_like(flat)
        for start in range(0, len(orders), _POSITIONS_AT_ONCE):
            piece = orders[start : start + _POSITIONS_AT_ONCE]
            before = min(start, 1)  # the gate looks at the neighbours, too
            with_neighbours = orders[start - before : start + len(piece) + 1]
            gate = self.audio_gate(_at(flat_sounds, with_neighbours))[before : before + len(piece)]
            scanned, state = self._scan(state, _at(flat, piece), gate)
            for places_of_scan, scan in zip(piece.unbind(1), scanned.unbind(2), strict=True):
                joined.index_add_(1, places_of_scan, scan.transpose(0, 1))
        return joined.view_as(x)

    def _initial_state(self, x: Tensor) -> Tensor:
        """(B, J, D, H)."""
        return x.new_zeros(len(x), _NUM_SCANS, x.shape[-1], _NUM_STATES)

    def _scan(self, state: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        """(L, B, J, D) from x and what the gate lets through, (L, B, J, D), and the last state."""
        told = torch.einsum("lbjd,jrd->lbjr", x, self.x_proj_weight)
        low_rank, drive, readout = told.split([self.rank, _NUM_STATES, _NUM_STATES], dim=-1)
        step = torch.einsum("lbjr,jdr->lbjd", low_rank, self.dt_projs_weight) + gate
        rate = -self.A_logs.exp().unflatten(0, (_NUM_SCANS, -1))
        step = F.softplus(step + self.dt_projs_bias)
        scanned, state = scan_on(state, x, step, rate, drive, readout)
        return scanned + self.Ds.unflatten(0, (_NUM_SCANS, -1)) * x, state


class AudioGate(nn.Module):
    """What is heard along each scan, smoothed over neighbours, and as much of it as a gate lets through."""

    def __init__(self, inner_dim: int) -> None:
        """Make the layers, which see each scan by itself."""
        super().__init__()
        hidden, channels = _NUM_SCANS * (inner_dim // 4), _NUM_SCANS * inner_dim
        self.temporal_conv = nn.Conv1d(channels, channels, 3, padding=1, groups=channels)
        self.audio_transform = nn.Conv1d(channels, hidden, 1, groups=_NUM_SCANS)
        self.gate_fusion = nn.Sequential(
            nn.Conv1d(hidden, hidden, 1, groups=_NUM_SCANS),
            nn.ReLU(),
            nn.Conv1d(hidden, channels, 1, groups=_NUM_SCANS),
            nn.Sigmoid(),
        )

    def forward(self, sounds: Tensor) -> Tensor:
        """(L, B, J, D) in and out."""
        smoothed = self.temporal_conv(sounds.flatten(2).permute(1, 2, 0))
        gated = smoothed * self.gate_fusion(self.audio_transform(smoothed))
        return gated.permute(2, 0, 1).unflatten(2, sounds.shape[2:])


def in_four_orders(x: Tensor) -> Tensor:
    """(B, T, N, D) to (L, B, J, D): frame by frame, query by query, and both backwards."""
    by_frame, by_query = x.flatten(1, 2), x.transpose(1, 2).flatten(1, 2)
    forwards = torch.stack([by_frame, by_query], dim=2)
    return torch.cat([forwards, forwards.flip(1)], dim=2).transpose(0, 1)


def from_four_orders(scans: Tensor, num_frames: int, num_queries: int) -> Tensor:
    """(L, B, J, D) to the sum of the four scans, each in its place, (B, T, N, D)."""
    forwards, backwards = scans.transpose(0, 1).chunk(2, dim=2)
    by_frame, by_query = (forwards + backwards.flip(1)).unbind(2)
    by_query = by_query.unflatten(1, (num_queries, num_frames)).transpose(1, 2)
    return by_frame.unflatten(1, (num_frames, num_queries)) + by_query


def _at(flat: Tensor, places: Tensor) -> Tensor:
    """(B, L, D) at (l, J) places: (l, B, J, D)."""
    return flat[:, places].transpose(0, 1)


def _uniform(*shape: int, bound: float) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound)


def _initial_steps(*shape: int) -> Tensor:
    """Values whose softplus is spread evenly, on a logarithmic scale, over Mamba's step sizes."""
    exponents = torch.empty(shape).uniform_(math.log(_SHORTEST_STEP), math.log(_LONGEST_STEP))
    return exponents.exp().expm1().log()

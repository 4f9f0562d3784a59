"""The selective scan: a linear recurrence whose decay and input depend on the position.

Follows Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, without the
skip connection:

    h_l = exp(δ_l A) h_{l−1} + δ_l B_l x_l,    y_l = C_l · h_l

A channel has H states, which at all positions would take H times the memory of the sequence. So a sequence is
cut into chunks, of which the last state alone is kept. The gradient computes the others again.

Dimensions: L positions, B clips, J scans with weights of their own, D channels, H states of a channel.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_SIZE = 64


def selective_scan(
    x: Tensor, step: Tensor, rate: Tensor, drive: Tensor, readout: Tensor, chunk_size: int = CHUNK_SIZE
) -> Tensor:
    """Scan sequences.

    Args:
        x: (L, B, J, D) sequences.
        step: (L, B, J, D) step sizes, δ.
        rate: (J, D, H) negative rates, A.
        drive: (L, B, J, H) how x enters the states, B.
        readout: (L, B, J, H) how states are read, C.
        chunk_size: positions whose states are held at once; the result does not depend on it.

    Returns:
        (L, B, J, D).
    """
    state = x.new_zeros(*x.shape[1:], rate.shape[-1])
    return scan_on(state, x, step, rate, drive, readout, chunk_size)[0]


def scan_on(
    state: Tensor,
    x: Tensor,
    step: Tensor,
    rate: Tensor,
    drive: Tensor,
    readout: Tensor,
    chunk_size: int = CHUNK_SIZE,
) -> tuple[Tensor, Tensor]:
    """Go on with a scan from a state (B, J, D, H): what `selective_scan` gives, and the last state."""
    outputs = []
    for chunk in zip(*(sequence.split(chunk_size) for sequence in (x, step, drive, readout)), strict=True):
        output, state = checkpoint(
            _scan_chunk, state, rate, *chunk, use_reentrant=False, preserve_rng_state=False
        )
        outputs.append(output)
    return torch.cat(outputs), state


def _scan_chunk(
    state: Tensor, rate: Tensor, x: Tensor, step: Tensor, drive: Tensor, readout: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs (l, B, J, D) of l positions, and the last state, from the state (B, J, D, H) before them."""
    decay = (step.unsqueeze(-1) * rate).exp()
    states = _Recurrence.apply(decay, (step * x).unsqueeze(-1) * drive.unsqueeze(-2), state)
    # A copy, as a view would keep all states of the chunk.
    return (states @ readout.unsqueeze(-1)).squeeze(-1), states[-1].clone()


class _Recurrence(torch.autograd.Function):
    """h_l = a_l h_{l−1} + u_l, element by element, in one operation a position."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor, state: Tensor) -> Tensor:
        """a and u (l, …) and h_0 (…) to h (l, …)."""
        states, before = torch.empty_like(inputs), state
        for a, u, h in zip(decay, inputs, states, strict=True):
            before = torch.addcmul(u, a, before, out=h)
        ctx.save_for_backward(decay, states, state)
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same recurrence, backwards: g_l = ∂h_l + a_{l+1} g_{l+1}."""
        decay, states, state = ctx.saved_tensors
        flow = gradient.clone(memory_format=torch.contiguous_format)
        for index in range(len(flow) - 1, 0, -1):
            flow[index - 1].addcmul_(decay[index], flow[index])
        of_decay = torch.empty_like(flow)
        torch.mul(flow[0], state, out=of_decay[0])
        torch.mul(flow[1:], states[:-1], out=of_decay[1:])
        return of_decay, flow, decay[0] * flow[0]

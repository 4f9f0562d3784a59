"""Attention to keys that come a few at a time, as if they came all at once.

The softmax runs along: sums of weights and of weighted values are kept relative to the largest logit so far
(Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018). It is exact but for rounding.

Dimensions: B clips, M heads, N queries, k keys of a chunk, C channels, D = C/M channels a head.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from avis.modeling.layers import MultiheadAttention


class RunningAttention:
    """What a `MultiheadAttention` gives for its queries, from keys that are added chunk by chunk."""

    def __init__(self, attention: MultiheadAttention, queries: Tensor) -> None:
        """Begin without keys.

        Args:
            attention: whose projections serve.
            queries: (B, N, C), with their position.
        """
        self._attention = attention
        projected = self._project(0, queries)
        self._queries = projected * projected.shape[-1] ** -0.5
        self._largest = projected.new_full((*projected.shape[:3], 1), -torch.inf, dtype=torch.float32)
        self._weight = torch.zeros_like(self._largest)
        self._sum = torch.zeros_like(projected, dtype=torch.float32)

    def add(self, keys: Tensor, values: Tensor, allowed: Tensor | None = None) -> None:
        """Attend to more keys.

        Args:
            keys: (B, k, C), with their position.
            values: (B, k, C), without it.
            allowed: (B, N, k) bool, True where a query may attend to a key; None: everywhere.
        """
        keys, values = self._project(1, keys), self._project(2, values)
        logits = (self._queries @ keys.mT).float()
        if allowed is not None:
            logits.masked_fill_(~allowed.unsqueeze(1), -torch.inf)
        largest = torch.maximum(self._largest, logits.amax(-1, keepdim=True))
        # -inf - -inf is no number: a query that has met no key yet is measured from 0.
        reference = largest.masked_fill(largest == -torch.inf, 0)
        weights = logits.sub_(reference).exp_()
        shrunk = (self._largest - reference).exp_()
        self._weight = self._weight * shrunk + weights.sum(-1, keepdim=True)
        self._sum = self._sum * shrunk + (weights.to(values.dtype) @ values).float()
        self._largest = largest

    def without_keys(self) -> Tensor:
        """(B, N) bool, True for queries that have not been allowed any key."""
        return (self._largest == -torch.inf)[:, 0, :, 0]

    def attended(self) -> Tensor:
        """(B, N, C), NaN for queries without keys."""
        output = (self._sum / self._weight).to(self._queries.dtype)
        return self._attention.out_proj(output.transpose(1, 2).flatten(2))

    def _project(self, index: int, x: Tensor) -> Tensor:
        """(B, n, C) to (B, M, n, D) by the projection of queries, keys or values: 0, 1 or 2."""
        attention = self._attention
        weight, bias = (p.chunk(3)[index] for p in (attention.in_proj_weight, attention.in_proj_bias))
        return F.linear(x, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)

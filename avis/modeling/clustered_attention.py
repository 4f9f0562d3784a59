"""Attention of clusters of queries to clusters of keys.

Follows the semantic-aware sparse attention of H2S (Liu et al., "Hear to See", ACM MM 2026), with its
parameter names. k-means puts queries and keys in clusters, frame by frame and head by head. Each cluster of
queries chooses the clusters of keys that matter most to it, and its queries attend to their keys alone.

Dimensions: B frames, N queries, P keys, C channels, K clusters, R = B·heads rows, D = C / heads.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avis.modeling.kmeans import Clusters, Start, farthest_points, kmeans

# Added to the sum of a query cluster's weights, as in the original.
_EPSILON = 1e-8


class ClusteredAttention(nn.Module):
    """Multi-head attention within chosen clusters; without residual and norm.

    Attributes:
        start: chooses where k-means begins, first for the queries, then for the keys.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        top_p: float,
        num_clusters: int = 8,
        iterations: int = 50,
        start: Start = farthest_points,
        released_padding: bool = True,
    ) -> None:
        """Make the projections.

        Args:
            embed_dim: C.
            num_heads: attention heads.
            top_p: the most that the attention of the chosen clusters may sum up to. The strongest one is
                always chosen.
            num_clusters: K; fewer where there are fewer queries or keys.
            iterations: the most rounds of k-means.
            start: chooses where k-means begins.
            released_padding: attend as the released program does. It gives every query the same number of
                keys, and fills up with copies of one of the frame's keys. This depends on the frames of a
                call. False: each query attends to the chosen keys alone.

        Raises:
            ValueError: C is not a multiple of `num_heads`.
        """
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{embed_dim} channels cannot be split over {num_heads} heads")
        self.num_heads, self.num_clusters, self.iterations = num_heads, num_clusters, iterations
        self.top_p, self.start, self.released_padding = top_p, start, released_padding
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(embed_dim, embed_dim) for _ in range(4)
        )

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend, in float32 also under autocast.

        Args:
            query: (B, N, C), with its position.
            key: (B, P, C).
            value: (B, P, C).

        Returns:
            (B, N, C).
        """
        with torch.autocast(query.device.type, enabled=False):
            query, key, value = self.project(query.float(), key.float(), value.float())
            query_clusters, key_clusters = self.cluster(query), self.cluster(key)
            chosen = choose_clusters(query_clusters, key_clusters, self.top_p)
            allowed = allowed_keys(query_clusters, key_clusters, chosen)
            mask = fill_up(allowed, first_keys(key_clusters)) if self.released_padding else allowed
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            return self.join_heads(attended)

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) and twice (B, P, C) to rows (R, N, D) and (R, P, D), the heads of a frame in turn."""
        layers = ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        return tuple(
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2).flatten(0, 1) for layer, x in layers
        )

    def join_heads(self, rows: Tensor) -> Tensor:
        """(R, N, D) to (B, N, C)."""
        return self.out_proj(rows.unflatten(0, (-1, self.num_heads)).transpose(1, 2).flatten(2))

    @torch.no_grad()
    def cluster(self, rows: Tensor) -> Clusters:
        """Put the tokens (R, N or P, D) of each row in clusters."""
        starts = self.start(rows, min(self.num_clusters, rows.shape[1]))
        return kmeans(rows, starts, self.iterations)


def choose_clusters(queries: Clusters, keys: Clusters, top_p: float) -> Tensor:
    """The clusters of keys that each cluster of queries attends to.

    A cluster of keys weighs as much as its keys would together, if all were at its centre. The heaviest are
    chosen as long as they sum up to at most `top_p`, and the heaviest of all in any case.

    Args:
        queries: K_q clusters of each row.
        keys: K_k clusters.
        top_p: share of all weights.

    Returns:
        (R, K_q, K_k) bool.
    """
    shares, order = cluster_shares(queries, keys).sort(dim=-1, descending=True, stable=True)
    chosen = shares.cumsum(-1) <= top_p
    chosen[..., 0] = True
    return torch.zeros_like(chosen).scatter(-1, order, chosen)


def cluster_shares(queries: Clusters, keys: Clusters) -> Tensor:
    """(R, K_q, K_k) share of each cluster of keys in the attention of each cluster of queries."""
    scores = queries.centres @ keys.centres.mT / math.sqrt(queries.centres.shape[-1])
    logits = scores + keys.sizes.log().unsqueeze(1)
    largest = logits.amax(-1, keepdim=True)
    weights = (logits - largest).exp()
    return weights / (weights.sum(-1, keepdim=True) + _EPSILON * (-largest).exp())


def allowed_keys(queries: Clusters, keys: Clusters, chosen: Tensor) -> Tensor:
    """(R, N, P) bool, True where a query's cluster has chosen a key's, by `chosen` (R, K_q, K_k)."""
    by_query = chosen.take_along_dim(queries.labels.unsqueeze(2), dim=1)
    return by_query.take_along_dim(keys.labels.unsqueeze(1), dim=2)


def first_keys(keys: Clusters) -> Tensor:
    """(R,) the key of each row that comes first when they are put in the order of their clusters."""
    return keys.labels.argmin(-1)


def fill_up(allowed: Tensor, filler: Tensor) -> Tensor:
    """Let every query attend to as many keys, by copies of one of them.

    n copies of a key take part in a softmax as the key itself with log n added to its logit.

    Args:
        allowed: (R, N, P) bool.
        filler: (R,) the key of which each row has copies.

    Returns:
        (R, N, P) float to add to the logits: the log of how often a query meets a key.
    """
    num_keys = allowed.sum(-1, keepdim=True)
    copies = (num_keys.max() - num_keys).float()
    place = filler[:, None, None].expand_as(copies)
    return allowed.float().scatter_add_(-1, place, copies).log_()

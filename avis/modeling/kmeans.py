"""k-means of many small point sets at once.

Lloyd, "Least squares quantization in PCM", 1982. It starts from points of the set: the farthest ones
(Gonzalez, 1985), the same in every run, or random ones (k-means++: Arthur and Vassilvitskii, 2007).

Dimensions: R point sets, P points of each, K clusters, D coordinates.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Gives the indices (R, K) of the points (R, P, D) at which K clusters start.
Start = Callable[[Tensor, int], Tensor]


class Clusters(NamedTuple):
    """Point sets in clusters.

    Attributes:
        centres: (R, K, D), means of the clusters; 0 for one without points.
        labels: (R, P), the cluster of each point: the one whose centre is nearest.
    """

    centres: Tensor
    labels: Tensor

    @property
    def sizes(self) -> Tensor:
        """(R, K) numbers of points, as floats."""
        return self.members.sum(1)

    @property
    def members(self) -> Tensor:
        """(R, P, K), 1 where a point is in a cluster, else 0."""
        return F.one_hot(self.labels, self.centres.shape[1]).to(self.centres.dtype)


def kmeans(points: Tensor, starts: Tensor, iterations: int) -> Clusters:
    """Move centres to the means of their points, until no point changes its cluster.

    Means depend on labels alone. So further rounds would not change them, and none is made. A program that
    torch.export makes cannot look at its numbers, and goes all rounds.

    Args:
        points: (R, P, D).
        starts: (R, K) indices of the points that are the first centres.
        iterations: the most rounds.
    """
    centres = points.gather(1, starts[..., None].expand(-1, -1, points.shape[2]))
    clusters = Clusters(centres, nearest(points, centres))
    for _ in range(iterations):
        members = clusters.members
        centres = (members.mT @ points) / members.sum(1).clamp(min=1)[..., None]
        moved = Clusters(centres, nearest(points, centres))
        if not torch.compiler.is_exporting() and torch.equal(moved.labels, clusters.labels):
            return moved
        clusters = moved
    return clusters


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """(R, P) the nearest of centres (R, K, D) to each of points (R, P, D)."""
    # |x − c|² without |x|², which is the same for all centres.
    offset = centres.square().sum(-1).unsqueeze(1)
    return torch.baddbmm(offset, points, centres.mT, alpha=-2).argmin(-1)


def farthest_points(points: Tensor, num_clusters: int) -> Tensor:
    """Starts far apart: the point farthest from the mean, then always the farthest from those chosen."""
    chosen = [_squared_distance(points, points.mean(1, keepdim=True)).argmax(-1)]
    distances = _to_point(points, chosen[0])
    for _ in range(num_clusters - 1):
        chosen.append(distances.argmax(-1))
        distances = torch.minimum(distances, _to_point(points, chosen[-1]))
    return torch.stack(chosen, dim=-1)


def random_points(points: Tensor, num_clusters: int) -> Tensor:
    """Starts of k-means++: the farther from those chosen, the likelier; from torch's global generator."""
    chosen = [torch.randint(points.shape[1], (len(points),), device=points.device)]
    distances = _to_point(points, chosen[0])
    for _ in range(num_clusters - 1):
        # Where all points lie on the chosen ones, one is as likely as another.
        alike = distances.sum(-1, keepdim=True) == 0
        chosen.append(torch.where(alike, 1, distances).multinomial(1).squeeze(-1))
        distances = torch.minimum(distances, _to_point(points, chosen[-1]))
    return torch.stack(chosen, dim=-1)


STARTS: dict[str, Start] = {"farthest": farthest_points, "random": random_points}


def _to_point(points: Tensor, index: Tensor) -> Tensor:
    """(R, P) squared distances of points (R, P, D) to the one of each set that `index` (R,) names."""
    return _squared_distance(points, points.take_along_dim(index[:, None, None], dim=1))


def _squared_distance(points: Tensor, point: Tensor) -> Tensor:
    return (points - point).square().sum(-1)

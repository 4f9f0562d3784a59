"""What the model finds in a video: its best (query, class) pairs, their masks, and the queries behind them.

`Candidates.tracks` is the prediction of a whole video. Windows of a stream are linked by the queries.

Dimensions: N queries, K classes, C channels, S pairs, Q of the queries that are in a pair, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from avis.structures import RLE, Track


@dataclass
class FoundQuery:
    """A query that is in at least one of the best pairs.

    Attributes:
        probabilities: (K,) of the classes.
        query: (C,), normalised, as the mask head takes it.
        quality: the mean probability inside the masks; 1 for a model that does not rate them.
        segmentations: T masks at the video's own size, None where they are empty.
    """

    probabilities: Tensor
    query: Tensor
    quality: float
    segmentations: list[RLE | None]


@dataclass
class Candidates:
    """The best pairs of a video, best first.

    Attributes:
        probabilities: (N, K) of each query's classes.
        queries: (N, C), normalised.
        scores: (S,), the pairs' probabilities.
        classes: (S,), class indices.
        chosen: (S,), indices of queries; a query may be in several pairs.
        quality: (S,), the mean probability inside the masks; 1 for a model that does not rate them.
        segmentations: of each pair, T masks or None.
    """

    probabilities: Tensor
    queries: Tensor
    scores: Tensor
    classes: Tensor
    chosen: Tensor
    quality: Tensor
    segmentations: Sequence[list[RLE | None]]

    def tracks(self, min_score: float) -> list[Track]:
        """The pairs as tracks, best first; those that do not score more than `min_score` are left out."""
        scores = self.scores * self.quality
        triples = zip(scores.tolist(), self.classes.tolist(), self.segmentations, strict=True)
        tracks = [Track(*triple) for triple in triples if triple[0] > min_score]
        return sorted(tracks, key=lambda track: track.score, reverse=True)

    def found_queries(self) -> list[FoundQuery]:
        """The Q queries of the pairs, each once, in the order of its best pair; tensors on the CPU."""
        chosen = self.chosen.tolist()
        probabilities, queries, quality = self.probabilities.cpu(), self.queries.cpu(), self.quality.tolist()
        pairs = {query: chosen.index(query) for query in chosen}
        # Cloned, so that what is kept of a query does not keep all the others.
        return [
            FoundQuery(
                probabilities[query].clone(), queries[query].clone(), quality[pair], self.segmentations[pair]
            )
            for query, pair in pairs.items()
        ]

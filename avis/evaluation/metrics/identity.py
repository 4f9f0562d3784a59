"""Identity: how long the right track is followed.

Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCV Workshops
2016; the numbers of TrackEval.

Dimensions: T frames, D predicted and G ground-truth tracks.
"""

from dataclasses import dataclass

from avis.evaluation.overlap import Detections, associate

THRESHOLD = 0.5


@dataclass(frozen=True)
class IdentityCounts:
    """What IDF1 is computed from.

    Attributes:
        num_true: detections to be found.
        num_predicted: detections made.
        found: frames in which associated tracks overlap.
    """

    num_true: int
    num_predicted: int
    found: int

    @property
    def idf1(self) -> float:
        """What is found, over the mean of what is to be found and what is predicted; 0 without either."""
        return 2 * self.found / max(1, self.num_true + self.num_predicted)


def count_identity(detections: Detections) -> IdentityCounts:
    """Associate tracks once, so that they overlap in as many frames as possible, by THRESHOLD or more."""
    overlapping = (detections.iou >= THRESHOLD).sum(0)  # (D, G)
    true, predicted = associate(overlapping)
    return IdentityCounts(
        int(detections.true.sum()), int(detections.predicted.sum()), int(overlapping[predicted, true].sum())
    )

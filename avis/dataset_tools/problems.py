"""What a check of a data set finds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data set.

    Attributes:
        severity: ERROR, what cannot be used or gives wrong results; WARNING, what may be meant.
        kind: a few words that all problems of this kind share.
        where: the video, or the file.
        message: a sentence that names the culprit.
    """

    severity: str
    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return self.message


def count_kinds(problems: Iterable[Problem], severity: str) -> dict[str, int]:
    """How many problems of a severity there are of each kind, the most first."""
    return dict(Counter(problem.kind for problem in problems if problem.severity == severity).most_common())

"""The categories of AVISeg (arXiv 2310.18709) in the order of their ids 1 … 26, scenarios, and colours."""

AVISEG_CATEGORIES = (
    "person",
    "violin",
    "guitar",
    "cello",
    "flute",
    "piano",
    "ukulele",
    "accordion",
    "guzheng",
    "clarinet",
    "cat",
    "car",
    "saxophone",
    "dog",
    "lawn_mover",  # as the released annotations spell it
    "tuba",
    "banjo",
    "pipa",
    "bassoon",
    "airplane",
    "tree_harvester",
    "trumpet",
    "lion",
    "bass",
    "erhu",
    "horse",
)

# The scenarios of videos and what sounds in them; anything else is a panorama.
_SCENARIOS = {
    "speaking": {"person"},
    "animal": {"cat", "dog", "lion", "horse"},
    "machine": {"car", "lawn_mover", "airplane", "tree_harvester"},
}
PANORAMA = "panorama"


def scenario_of(*categories: str) -> str:
    """The scenario of a video in which objects of these categories are: "music", "speaking", … or "panorama".

    Categories that are in no other scenario are instruments.
    """
    scenarios = {
        next((name for name, members in _SCENARIOS.items() if category in members), "music")
        for category in categories
    }
    return scenarios.pop() if len(scenarios) == 1 else PANORAMA


def voc_colour(index: int) -> tuple[int, int, int]:
    """PASCAL VOC's colour: three bits of the index at a time go to the highest bits left of each channel."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return tuple(channels)

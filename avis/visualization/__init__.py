"""Pictures and videos of tracks."""

from avis.visualization.comparison import ComparedVideo, draw_comparison, shown_frames
from avis.visualization.overlay import draw_frame, draw_video
from avis.visualization.strip import PEAKS
from avis.visualization.timeline import TimelineRow, draw_timeline

__all__ = [
    "PEAKS",
    "ComparedVideo",
    "TimelineRow",
    "draw_comparison",
    "draw_frame",
    "draw_timeline",
    "draw_video",
    "shown_frames",
]

"""Pictures and videos of tracks."""

from avis.visualization.comparison import ComparedVideo, draw_comparison, shown_frames
from avis.visualization.overlay import draw_frame, write_overlay_video
from avis.visualization.timeline import TimelineRow, draw_timeline

__all__ = [
    "ComparedVideo",
    "TimelineRow",
    "draw_comparison",
    "draw_frame",
    "draw_timeline",
    "shown_frames",
    "write_overlay_video",
]

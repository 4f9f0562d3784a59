"""Pictures and videos of tracks."""

from avis.visualization.comparison import ComparedVideo, draw_comparison, match_tracks, shown_frames
from avis.visualization.dataset import ground_truth_tracks, predicted_tracks, read_frames
from avis.visualization.overlay import draw_frame, draw_video, write_overlay_video
from avis.visualization.timeline import TimelineRow, draw_timeline, sounding_runs

__all__ = [
    "ComparedVideo",
    "TimelineRow",
    "draw_comparison",
    "draw_frame",
    "draw_timeline",
    "draw_video",
    "ground_truth_tracks",
    "match_tracks",
    "predicted_tracks",
    "read_frames",
    "shown_frames",
    "sounding_runs",
    "write_overlay_video",
]

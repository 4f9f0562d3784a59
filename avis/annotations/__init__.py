"""The AVISeg format of annotations and its masks; needs neither torch nor Detectron2."""

from avis.annotations.format_check import format_problems
from avis.annotations.rle import measure_rles
from avis.annotations.segmentation import compress_segmentation, decode_segmentation

__all__ = ["compress_segmentation", "decode_segmentation", "format_problems", "measure_rles"]

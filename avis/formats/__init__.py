"""Annotation and result files, masks and tracks; needs neither torch nor Detectron2."""

from avis.formats.format_check import format_problems
from avis.formats.rle import measure_rles
from avis.formats.segmentation import compress_segmentation, decode_segmentation

__all__ = ["compress_segmentation", "decode_segmentation", "format_problems", "measure_rles"]

"""Annotation and result files, masks and tracks; needs neither torch nor Detectron2."""

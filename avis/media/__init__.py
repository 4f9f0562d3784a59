"""Media files: videos, sound and pictures, in and out; needs neither torch nor Detectron2."""

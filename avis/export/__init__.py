"""Models as programs of torch.export, which run without AVIS and Detectron2."""

from avis.export.writing import export_model

__all__ = ["export_model"]

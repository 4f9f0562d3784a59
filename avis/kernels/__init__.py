"""Functions with a form for each kind of processor; the plain form is the definition of all."""

from avis.kernels.matched_product import matched_product
from avis.kernels.ms_deform_attn import ms_deform_attn

__all__ = ["matched_product", "ms_deform_attn"]

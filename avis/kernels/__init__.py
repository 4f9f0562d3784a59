"""Functions with a form for each kind of processor; the plain form is the definition of all."""

from avis.kernels.ms_deform_attn import ms_deform_attn

__all__ = ["ms_deform_attn"]

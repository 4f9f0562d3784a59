"""The two halves of a model as functions of tensors alone: what `see` keeps of frames, and what is decided.

They take one video and have no batch dimension.

Dimensions: T frames, S audio sources, A audio channels, H'×W' the frames' size, N queries, K classes, C
channels, H×W the per-pixel embeddings.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from avis.modeling import FrameFeatures
from avis.modeling.avis_mask_former import AVISMaskFormer
from avis.modeling.mask_former_head import MaskFormerHead


class FrameEncoder(nn.Module):
    """From the frames to all that the decoder keeps of them; a fusion such as TPAVI relates them."""

    def __init__(self, model: AVISMaskFormer) -> None:
        """Keep the model, in evaluation mode."""
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, audio: Tensor | None = None) -> dict[str, Tensor]:
        """Encode.

        Args:
            frames: (T, 3, H', W') of 0 … 255; they are normalised and padded here.
            audio: (T, A) or (T, S, A) audio features; None for a model that does not hear.

        Returns:
            (T, …) by name: of the baseline "mask_features" (T, C, H, W) and projected levels (T, C, h, w), of
            a `FrameClipDecoder` "mask_features" and "queries".

        Raises:
            ValueError: the decoder keeps something else than features of frames.
        """
        sounds = _of_one_clip(audio)
        features = self.model.fuse(self.model.features(frames.unbind()), sounds)
        seen = self.model.sem_seg_head.see(features, sounds)
        if not isinstance(seen, FrameFeatures):
            decoder = type(self.model.sem_seg_head.predictor).__name__
            raise ValueError(f"{decoder}.see gives {type(seen).__name__}; FrameFeatures can be exported")
        return {name: x.squeeze(0) for name, x in seen.items()}


class MaskDecoder(nn.Module):
    """From the features of all frames to the classes and masks of all queries."""

    def __init__(self, head: MaskFormerHead) -> None:
        """Keep the model's head, in evaluation mode."""
        super().__init__()
        self.head = head

    def forward(self, features: Mapping[str, Tensor], audio: Tensor | None = None) -> dict[str, Tensor]:
        """Decode.

        Args:
            features: as `FrameEncoder` gives them.
            audio: as `FrameEncoder` takes it.

        Returns:
            "class_logits" (N, K+1), the last class is no-object, and "mask_logits" (N, T, H, W).
        """
        seen = FrameFeatures({name: x.unsqueeze(0) for name, x in features.items()})
        decoded = self.head.decide([seen], _of_one_clip(audio))
        answer = decoded.predictions[-1]
        masks = self.head.predictor.mask_embed(answer.queries, decoded.mask_features)
        if answer.gate is not None:
            masks = masks + answer.gate[..., None, None]
        return {"class_logits": answer.class_logits.squeeze(0), "mask_logits": masks.squeeze(0)}


def _of_one_clip(audio: Tensor | None) -> Tensor | None:
    """(T, A) or (T, S, A) to (1, T, S, A)."""
    if audio is None:
        return None
    return (audio.unsqueeze(1) if audio.dim() == 2 else audio).unsqueeze(0)

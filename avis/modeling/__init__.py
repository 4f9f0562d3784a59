"""The model and its parts. Importing this package registers them all."""

from avis.modeling import (  # noqa: F401  they register their parts
    avis_mask_former,
    backbones,
    family_losses,
    frame_clip_decoder,
    source_query,
    state_space,
)
from avis.modeling.audio_query import AUDIO_QUERY_REGISTRY, AudioQuery, MeanAudioQuery
from avis.modeling.clip_targets import ClipTargets
from avis.modeling.clustered_attention import ClusteredAttention
from avis.modeling.criterion import VideoSetCriterion
from avis.modeling.decoder import TRANSFORMER_DECODER_REGISTRY, Decoded, DecoderOutput, VideoDecoder
from avis.modeling.feature_store import FeatureStore, FrameFeatures, join_frames
from avis.modeling.fusion import AV_FUSION_REGISTRY, TPAVI
from avis.modeling.losses import LOSS_REGISTRY, Loss
from avis.modeling.mask_head import MASK_HEAD_REGISTRY, DotMaskHead, MaskHead, ResidualMaskHead
from avis.modeling.matcher import VideoHungarianMatcher
from avis.modeling.ms_deform_attn import ms_deform_attn
from avis.modeling.pixel_decoder import MSDeformAttnPixelDecoder
from avis.modeling.temporal_fusion import TEMPORAL_FUSION_REGISTRY, TemporalFusion
from avis.modeling.trained_model import build_model, load_trained_model
from avis.modeling.two_way_attention import TwoWayAttention
from avis.modeling.video_decoder import VideoMultiScaleMaskedTransformerDecoder

__all__ = [
    "AUDIO_QUERY_REGISTRY",
    "AV_FUSION_REGISTRY",
    "LOSS_REGISTRY",
    "MASK_HEAD_REGISTRY",
    "TEMPORAL_FUSION_REGISTRY",
    "TPAVI",
    "TRANSFORMER_DECODER_REGISTRY",
    "AudioQuery",
    "ClipTargets",
    "ClusteredAttention",
    "Decoded",
    "DecoderOutput",
    "DotMaskHead",
    "FeatureStore",
    "FrameFeatures",
    "Loss",
    "MSDeformAttnPixelDecoder",
    "MaskHead",
    "MeanAudioQuery",
    "ResidualMaskHead",
    "TemporalFusion",
    "TwoWayAttention",
    "VideoDecoder",
    "VideoHungarianMatcher",
    "VideoMultiScaleMaskedTransformerDecoder",
    "VideoSetCriterion",
    "build_model",
    "join_frames",
    "load_trained_model",
    "ms_deform_attn",
]

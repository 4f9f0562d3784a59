"""The AVIS model: image and audio backbones, fusion, pixel decoder, video decoder, losses and inference.

Follows Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709. Without audio, fusion and
Eq. (1) it is Mask2Former for video (Cheng et al., 2021), with the same parameter names.

Dimensions: B clips, T frames, C channels, S audio sources, A audio channels, H×W images, h×w feature maps.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from torch import Tensor, nn
from torch.nn import functional as F

from avis.audio import build_audio_backbone
from avis.config import checkpoints, hears
from avis.modeling.backbones import StagedBackbone, checkpoint_blocks, fold_frozen_norms
from avis.modeling.clip_targets import clip_targets
from avis.modeling.feature_store import FrameFeatures
from avis.modeling.frame_storage import check_place
from avis.modeling.fusion import build_fusion, fuse_levels
from avis.modeling.losses import Criterion
from avis.modeling.mask_former_head import MaskFormerHead
from avis.modeling.precision import lower_precision
from avis.modeling.whole_batch import with_whole_batch
from avis.modeling.whole_video import predict_video
from avis.structures import VideoPrediction

# Log-mel examples that pass at once through an audio backbone that doesn't learn.
_EXAMPLES_AT_ONCE = 16


@META_ARCH_REGISTRY.register()
class AVISMaskFormer(nn.Module):
    """Finds, segments and tracks the sounding objects of a clip or of a whole video."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: MaskFormerHead,
        criterion: Criterion,
        audio_backbone: nn.Module | None,
        fusion: nn.ModuleDict,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
        topk: int,
        chunk_size: int,
        feature_store: str = "auto",
        mask_quality: bool = False,
        min_score: float = 0.0,
        test_precision: torch.dtype | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            backbone: images to a dict of feature maps.
            sem_seg_head: pixel decoder and video decoder.
            criterion: the training losses.
            audio_backbone: log-mel examples (n, 96, 64) to features (n, A); None for a model without hearing.
            fusion: by feature name, the module that fuses this feature with the audio.
            pixel_mean: of the three channels, on the scale 0 … 255.
            pixel_std: of the three channels.
            size_divisibility: images are padded to a multiple of this.
            topk: tracks kept of a video.
            chunk_size: frames that are processed at once in evaluation; 0 chooses by their size.
            feature_store: where a video's features lie in evaluation, one of `PLACES`.
            mask_quality: multiply a track's score by the mean probability inside its masks.
            min_score: tracks that do not score more are dropped.
            test_precision: torch.float16 or torch.bfloat16 predicts under autocast to it.
        """
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.audio_backbone = audio_backbone
        self.fusion = fusion
        self.size_divisibility = size_divisibility
        self.topk, self.chunk_size, self.feature_store = topk, chunk_size, check_place(feature_store)
        self.mask_quality, self.min_score = mask_quality, min_score
        self.test_precision = test_precision
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Arguments of the class from a config."""
        backbone = fold_frozen_norms(build_backbone(cfg))
        if checkpoints(cfg, "backbone") and not isinstance(backbone, StagedBackbone):
            checkpoint_blocks(backbone)
        mask_former = cfg.MODEL.MASK_FORMER
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "criterion": Criterion(cfg),
            "audio_backbone": build_audio_backbone(cfg) if hears(cfg) else None,
            "fusion": build_fusion(cfg, "backbone", backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": mask_former.SIZE_DIVISIBILITY,
            "topk": mask_former.TEST.TOPK,
            "chunk_size": mask_former.TEST.CHUNK_SIZE,
            "feature_store": mask_former.TEST.FEATURE_STORE,
            "mask_quality": mask_former.TEST.MASK_QUALITY,
            "min_score": mask_former.TEST.MIN_SCORE,
            "test_precision": lower_precision(cfg) if cfg.TEST.AMP else None,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[VideoPrediction]:
        """Train on clips, or predict whole videos.

        Args:
            batched_inputs: one dict a clip or video. "image" has T tensors (3, H, W) of 0 … 255, or one of
                all, or in evaluation any sequence whose slices are such. A model that hears needs one of
                "audio_examples", (T, 96, 64) log-mel examples, "audio_features", (T, A) or (T, S, A), and
                "audio_silence", S, for S silent sources. Training needs "instances", T `Instances` with
                `gt_masks`, `gt_classes` and `gt_ids` in the same order, and for the loss "count" also
                "num_sounding", (T,). "seed" draws the points at which losses are computed. Without it,
                torch's generator does. Evaluation needs "video_id", "height" and "width" of the video.

        Returns:
            In training the weighted losses by name, in evaluation one prediction a video.
        """
        if self.training:
            return self._losses(batched_inputs)
        return [predict_video(self, video) for video in batched_inputs]

    def share_batch(self, clips: Sequence[dict], num_passes: int) -> list[dict]:
        """Prepare a training batch to be seen in passes that together give its gradients."""
        return with_whole_batch(clips, num_passes)

    def features(
        self, frames: Sequence[Tensor], num_clips: int = 1, padded_size: tuple[int, int] | None = None
    ) -> FrameFeatures:
        """Backbone features of the frames of B clips.

        Args:
            frames: (3, H, W) each, 0 … 255, clip after clip.
            num_clips: B, all of the same number of frames.
            padded_size: of the images; None: as `padded_size` has it.

        Returns:
            (B, T, C_i, h_i, w_i) by name.
        """
        moved = [frame.to(self.device, non_blocking=True) for frame in frames]
        normalised = [(frame - self.pixel_mean) / self.pixel_std for frame in moved]
        height, width = padded_size or self.padded_size(frames)
        padded = [F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in normalised]
        features = self.backbone(torch.stack(padded))
        return FrameFeatures({name: x.unflatten(0, (num_clips, -1)) for name, x in features.items()})

    def padded_size(self, frames: Sequence[Tensor]) -> tuple[int, int]:
        """The size to which frames (3, H, W) are padded before the backbone: the largest, rounded up."""
        return self._rounded(*(max(frame.shape[axis] for frame in frames) for axis in (-2, -1)))

    def _rounded(self, height: int, width: int) -> tuple[int, int]:
        divisor = max(self.size_divisibility, 1)
        return -(-height // divisor) * divisor, -(-width // divisor) * divisor

    def hear(self, clips: Sequence[dict]) -> Tensor | None:
        """(B, T, S, A) audio features of B clips; None for a model that does not hear.

        Raises:
            ValueError: a clip has no audio, the clips have different kinds of it, or it is of other weights.
        """
        if self.audio_backbone is None:
            return None
        if all("audio_examples" in clip for clip in clips):
            moved = [clip["audio_examples"].to(self.device, non_blocking=True) for clip in clips]
            return self._hear_examples(torch.stack(moved))
        if all("audio_features" in clip or "audio_silence" in clip for clip in clips):
            return torch.stack([self._features_of(clip) for clip in clips])
        keys = [sorted(key for key in clip if key.startswith("audio")) for clip in clips]
        raise ValueError(
            "a model that hears needs 'audio_examples' (T, 96, 64) or 'audio_features' (T, A) of every clip "
            f"of a batch, the same for all; the clips have {keys}"
        )

    def _hear_examples(self, examples: Tensor) -> Tensor:
        """(B, T, 96, 64) log-mel examples → (B, T, 1, A)."""
        # The batch norms of a backbone that learns take their statistics over the whole batch.
        at_once = examples[..., 0, 0].numel() if self.audio_backbone.training else _EXAMPLES_AT_ONCE
        chunks = examples.flatten(0, 1).split(at_once)
        features = torch.cat([self.audio_backbone(chunk) for chunk in chunks])
        return features.unflatten(0, examples.shape[:2]).unsqueeze(2)

    def _features_of(self, clip: dict) -> Tensor:
        """(T, S, A) features that a clip brings; or those of silence, which the audio backbone knows."""
        if "audio_silence" in clip:
            silence = self.audio_backbone.silence(self.device)
            return silence.expand(len(clip["image"]), clip["audio_silence"], -1)
        if "audio_weights" in clip:
            self.audio_backbone.check_made(clip["audio_weights"])
        features = clip["audio_features"].to(self.device, non_blocking=True)
        return features if features.dim() == 3 else features.unsqueeze(1)

    def fuse(self, features: FrameFeatures, audio: Tensor | None) -> FrameFeatures:
        """(B, T, C_i, h_i, w_i) features in and out; levels that have a fusion hear (B, T, S, A) audio."""
        return FrameFeatures(fuse_levels(self.fusion, features, audio))

    def _losses(self, clips: list[dict]) -> dict[str, Tensor]:
        lengths = {len(clip["image"]) for clip in clips}
        if len(lengths) != 1:
            raise ValueError(f"the clips of a batch must be equally long, not {sorted(lengths)} frames")
        if "batch" not in clips[0]:
            clips = self.share_batch(clips, num_passes=1)
        frames = [frame for clip in clips for frame in clip["image"]]
        padded_size = self._rounded(*clips[0]["batch"].size)
        targets = [clip_targets(clip, padded_size, self.device) for clip in clips]
        audio = self.hear(clips)
        features = self.fuse(self.features(frames, len(clips), padded_size), audio)
        decoded = self.sem_seg_head(features, audio)
        return self.criterion(decoded, targets)

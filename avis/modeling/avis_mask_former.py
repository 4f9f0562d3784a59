"""The AVIS model: image and audio backbones, fusion, pixel decoder, video decoder, losses and inference.

Follows Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709. Without audio, fusion and
Eq. (1) it is Mask2Former for video (Cheng et al., 2021), with the same parameter names.

Dimensions: B clips, T frames, C channels, A audio channels, H×W images, h×w feature maps.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from detectron2.structures import ImageList
from torch import Tensor, nn

from avis.audio import build_audio_backbone
from avis.config import hears
from avis.modeling.criterion import ClipTargets, VideoSetCriterion
from avis.modeling.fusion import AV_FUSION_REGISTRY
from avis.modeling.matcher import VideoHungarianMatcher
from avis.modeling.postprocess import encode_tracks, resize_masks, select_tracks
from avis.structures import Track, VideoPrediction

# Pixels that pass the backbone and the pixel decoder at once where CHUNK_SIZE leaves the choice.
_PIXELS_AT_ONCE = 2**20
# Pixels of all tracks' masks at the video's own size that are held at once.
_MASK_PIXELS_AT_ONCE = 2**25
# Log-mel examples that pass the audio backbone at once.
_EXAMPLES_AT_ONCE = 64


@META_ARCH_REGISTRY.register()
class AVISMaskFormer(nn.Module):
    """Finds, segments and tracks the sounding objects of a clip or of a whole video."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        criterion: VideoSetCriterion,
        audio_backbone: nn.Module | None,
        fusion: nn.ModuleDict,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
        deep_supervision: bool,
        topk: int,
        score_threshold: float,
        chunk_size: int,
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
            deep_supervision: losses after every decoder layer, not only the last.
            topk: tracks kept of a video.
            score_threshold: tracks that do not score higher are dropped.
            chunk_size: frames that are processed at once in evaluation; 0 chooses by their size.
        """
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.audio_backbone = audio_backbone
        self.fusion = fusion
        self.size_divisibility = size_divisibility
        self.deep_supervision = deep_supervision
        self.topk, self.score_threshold, self.chunk_size = topk, score_threshold, chunk_size
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Arguments of the class from a config."""
        backbone = build_backbone(cfg)
        mask_former = cfg.MODEL.MASK_FORMER
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "criterion": _build_criterion(cfg),
            "audio_backbone": build_audio_backbone(cfg) if hears(cfg) else None,
            "fusion": _build_fusion(cfg, backbone),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": mask_former.SIZE_DIVISIBILITY,
            "deep_supervision": mask_former.DEEP_SUPERVISION,
            "topk": mask_former.TEST.TOPK,
            "score_threshold": mask_former.TEST.SCORE_THRESHOLD,
            "chunk_size": mask_former.TEST.CHUNK_SIZE,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[VideoPrediction]:
        """Train on clips, or predict whole videos.

        Args:
            batched_inputs: one dict a clip or video with "image", T tensors (3, H, W) of 0 … 255, or one of
                all; "audio", (T, 96, 64) log-mel examples or (T, A) features, unless the model does not hear;
                in training "instances", T `Instances` with `gt_masks` and `gt_classes` in the same order; in
                evaluation "video_id", and "height" and "width" of the original video.

        Returns:
            In training the weighted losses by name, in evaluation one prediction a video.
        """
        if self.training:
            return self._losses(batched_inputs)
        return [self._predict(video) for video in batched_inputs]

    def _losses(self, clips: list[dict]) -> dict[str, Tensor]:
        lengths = {len(clip["image"]) for clip in clips}
        if len(lengths) != 1:
            raise ValueError(f"the clips of a batch must be equally long, not {sorted(lengths)} frames")
        images = self._normalise([frame for clip in clips for frame in clip["image"]])
        audio = self._hear([clip.get("audio") for clip in clips])
        features = self._fuse(self.backbone(images.tensor), lengths.pop(), audio)
        num_frames = len(clips[0]["image"])
        outputs, _ = self.sem_seg_head(features, num_frames, audio, chunk_size=len(images))
        # Final prediction first, then those of the layers from the first on.
        outputs = [outputs[-1], *outputs[:-1]] if self.deep_supervision else outputs[-1:]
        targets = [self._targets(clip["instances"], images.tensor.shape[-2:]) for clip in clips]
        return self.criterion([(o.class_logits, o.mask_logits) for o in outputs], targets)

    def _predict(self, video: dict) -> VideoPrediction:
        frames = video["image"]
        chunk_size = self.chunk_size or max(1, _PIXELS_AT_ONCE // frames[0][0].numel())
        features, padded_size = self._backbone_features(frames, chunk_size)
        audio = self._hear([video.get("audio")])
        features = self._fuse(features, len(frames), audio)
        outputs, mask_features = self.sem_seg_head(features, len(frames), audio, chunk_size)
        scores, classes, queries = select_tracks(outputs[-1].class_logits[0], self.topk, self.score_threshold)
        size = (video["height"], video["width"])
        mask_head, decoded = self.sem_seg_head.predictor.mask_embed, outputs[-1].queries
        # The masks of all tracks at the video's own size can be far larger than what the backbone takes.
        frames_at_once = max(1, _MASK_PIXELS_AT_ONCE // (max(1, len(queries)) * size[0] * size[1]))
        chunks = (
            resize_masks(mask_head(decoded, chunk, queries)[0], padded_size, frames[0].shape[-2:], size)
            for chunk in mask_features.split(min(chunk_size, frames_at_once), dim=1)
        )
        segmentations = encode_tracks(chunks) if len(queries) else []
        tracks = [
            Track(score, category, masks)
            for score, category, masks in zip(scores.tolist(), classes.tolist(), segmentations, strict=True)
        ]
        return VideoPrediction(video["video_id"], *size, len(frames), tracks)

    def _backbone_features(
        self, frames: Sequence[Tensor], chunk_size: int
    ) -> tuple[dict[str, Tensor], tuple[int, int]]:
        """(T, C_i, h_i, w_i) features of a video, and the size of its padded frames."""
        chunks = []
        for start in range(0, len(frames), chunk_size):
            images = self._normalise(frames[start : start + chunk_size]).tensor
            chunks.append(self.backbone(images))
        features = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
        return features, tuple(images.shape[-2:])

    def _normalise(self, frames: Sequence[Tensor]) -> ImageList:
        normalised = [(frame.to(self.device) - self.pixel_mean) / self.pixel_std for frame in frames]
        return ImageList.from_tensors(normalised, self.size_divisibility)

    def _hear(self, audio: Sequence[Tensor]) -> Tensor | None:
        """(B, T, A) audio features of B clips' log-mel examples, or of the features that they already are."""
        if self.audio_backbone is None:
            return None
        stacked = torch.stack(list(audio)).to(self.device)
        if stacked.dim() == 3:
            return stacked
        examples = stacked.flatten(0, 1).split(_EXAMPLES_AT_ONCE)
        return torch.cat([self.audio_backbone(chunk) for chunk in examples]).unflatten(0, stacked.shape[:2])

    def _fuse(self, features: dict[str, Tensor], num_frames: int, audio: Tensor | None) -> dict[str, Tensor]:
        """(B·T, C_i, h_i, w_i) features in and out, those that have a fusion module fused."""
        return {
            name: self._fuse_one(self.fusion[name], feature, num_frames, audio)
            if name in self.fusion
            else feature
            for name, feature in features.items()
        }

    @staticmethod
    def _fuse_one(fusion: nn.Module, feature: Tensor, num_frames: int, audio: Tensor) -> Tensor:
        clips = feature.unflatten(0, (-1, num_frames)).transpose(1, 2)
        return fusion(clips, audio).transpose(1, 2).flatten(0, 1)

    def _targets(self, instances: Sequence, padded_size: tuple[int, int]) -> ClipTargets:
        """The tracks that sound in at least one frame of a clip; the others are not to be found in it."""
        masks = torch.stack([frame.gt_masks.tensor for frame in instances], dim=1).to(self.device)
        classes = instances[0].gt_classes.to(self.device)
        sounding = masks.flatten(1).any(dim=1)
        height, width = masks.shape[-2:]
        padded = masks.new_zeros((int(sounding.sum()), masks.shape[1], *padded_size), dtype=torch.float32)
        padded[..., :height, :width] = masks[sounding]
        return ClipTargets(classes[sounding], padded)


def _build_criterion(cfg: CfgNode) -> VideoSetCriterion:
    mask_former = cfg.MODEL.MASK_FORMER
    matcher = VideoHungarianMatcher(
        mask_former.CLASS_WEIGHT,
        mask_former.MASK_WEIGHT,
        mask_former.DICE_WEIGHT,
        mask_former.TRAIN_NUM_POINTS,
    )
    return VideoSetCriterion(
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        matcher,
        no_object_weight=mask_former.NO_OBJECT_WEIGHT,
        weights={
            "loss_ce": mask_former.CLASS_WEIGHT,
            "loss_mask": mask_former.MASK_WEIGHT,
            "loss_dice": mask_former.DICE_WEIGHT,
        },
        num_points=mask_former.TRAIN_NUM_POINTS,
        oversample_ratio=mask_former.OVERSAMPLE_RATIO,
        importance_sample_ratio=mask_former.IMPORTANCE_SAMPLE_RATIO,
    )


def _build_fusion(cfg: CfgNode, backbone: Backbone) -> nn.ModuleDict:
    """A fusion module for each of FUSION.IN_FEATURES; none without fusion or without audio."""
    name = cfg.MODEL.FUSION.NAME
    if not name or not cfg.MODEL.AUDIO.NAME:
        return nn.ModuleDict()
    fusion, shapes = AV_FUSION_REGISTRY.get(name), backbone.output_shape()
    missing = set(cfg.MODEL.FUSION.IN_FEATURES) - set(shapes)
    if missing:
        raise ValueError(
            f"MODEL.FUSION.IN_FEATURES names {sorted(missing)}, but the backbone gives {sorted(shapes)}"
        )
    return nn.ModuleDict(
        {
            feature: fusion(shapes[feature].channels, cfg.MODEL.AUDIO.FEATURE_DIM)
            for feature in cfg.MODEL.FUSION.IN_FEATURES
        }
    )

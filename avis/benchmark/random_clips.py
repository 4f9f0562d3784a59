"""Random training clips of any size, which need no data set and are the same for every model.

Dimensions: T frames, H×W images, M objects.
"""

import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor

NUM_OBJECTS = 3
SEED = 0


def random_clips(number: int, frames: int, size: tuple[int, int], num_classes: int) -> list[dict]:
    """Clips under the keys of the batch contract, with noise as pictures and log-mel examples as sound.

    Args:
        number: of clips.
        frames: T.
        size: H, W.
        num_classes: objects are of one of so many.
    """
    generator = torch.Generator().manual_seed(SEED)
    return [_clip(frames, size, num_classes, generator) for _ in range(number)]


def _clip(frames: int, size: tuple[int, int], num_classes: int, generator: torch.Generator) -> dict:
    classes = torch.randint(num_classes, (NUM_OBJECTS,), generator=generator)
    return {
        "image": torch.randint(256, (frames, 3, *size), dtype=torch.uint8, generator=generator),
        "audio_examples": torch.randn(frames, 96, 64, generator=generator),
        "instances": [
            Instances(
                size,
                gt_masks=BitMasks(masks),
                gt_classes=classes,
                gt_ids=torch.arange(1, NUM_OBJECTS + 1),
            )
            for masks in _moving_boxes(frames, size, generator)
        ],
        "num_sounding": torch.full((frames,), NUM_OBJECTS),
        "height": size[0],
        "width": size[1],
        "length": frames,
        "video_id": 1,
        "frame_indices": list(range(frames)),
    }


def _moving_boxes(frames: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(T, M, H, W) masks: boxes of a third of the frame's height and width, which drift to the right."""
    height, width = size
    box_height, box_width = -(-height // 3), -(-width // 3)
    tops = torch.randint(height - box_height + 1, (NUM_OBJECTS,), generator=generator).tolist()
    lefts = torch.randint(width - box_width + 1, (NUM_OBJECTS,), generator=generator).tolist()
    masks = torch.zeros(frames, NUM_OBJECTS, height, width, dtype=torch.bool)
    for t in range(frames):
        for number, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            start = min(left + t * width // 50, width - box_width)
            masks[t, number, top : top + box_height, start : start + box_width] = True
    return masks

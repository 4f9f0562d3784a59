"""Swin Transformer under the module names of its official code, so that its checkpoints load as they are.

Follows Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, as a
backbone of dense prediction: images of any size, and a layer norm on each output. The layers are timm's, but
the block is not. timm shifts a map before it pads it to whole windows, and the official code pads first. If
the map is not a multiple of the window, the two give different features.

Dimensions: B images, H×W pixels, h×w a feature map, C channels, W windows a map, S tokens a window.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, PatchEmbed
from timm.models.swin_transformer import PatchMerging, WindowAttention, window_partition, window_reverse
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avis.modeling.backbones.stages import STRIDES, StagedBackbone

_STAGE_NAMES = list(STRIDES)
_PATCH_SIZE = 4
_MLP_RATIO = 4
_MASKED = -100.0  # added to the logit of tokens that are neighbours only by the cyclic shift


class SwinBlock(nn.Module):
    """Attention within windows, shifted or not, and a feed-forward network, each residual."""

    def __init__(self, channels: int, num_heads: int, window_size: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window_size = (window_size, window_size)
        self.shift = shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads, window_size=self.window_size)
        # Part of the state dict, as in the official code; timm leaves it out.
        self.attn.register_buffer("relative_position_index", self.attn.relative_position_index)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, _MLP_RATIO * channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, shifted_mask: Tensor) -> Tensor:
        """(B, h, w, C) to the same shape, for maps of any size.

        `shifted_mask` (W, S, S) is added to the attention logits of a shifted block.
        """
        x = x + self.drop_path(self._attend(self.norm1(x), shifted_mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, shifted_mask: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0]))
        padded_height, padded_width = x.shape[1:3]
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(x, self.window_size).flatten(1, 2)
        windows = self.attn(windows, mask=shifted_mask if self.shift else None)
        x = window_reverse(windows, self.window_size, padded_height, padded_width)
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return x[:, :height, :width]


class SwinStage(nn.Module):
    """Blocks at one stride, every second one shifted by half a window; `downsample` leads to the next."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: int,
        drop_path_rates: Sequence[float],
        has_next: bool,
        grad_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = window_size // 2
        self.grad_checkpointing = grad_checkpointing
        self.blocks = nn.ModuleList(
            SwinBlock(channels, num_heads, window_size, self.shift if index % 2 else 0, rate)
            for index, rate in enumerate(drop_path_rates)
        )
        self.downsample = PatchMerging(channels) if has_next else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to the same shape, before `downsample`."""
        mask = _shifted_mask(x, self.window_size, self.shift)
        for block in self.blocks:
            if self.grad_checkpointing and self.training:
                x = checkpoint(block, x, mask, use_reentrant=False)
            else:
                x = block(x, mask)
        return x


class SwinTransformer(StagedBackbone):
    """Feature maps "res2" … "res5" of a Swin Transformer, channels first, each through its own layer norm."""

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_sizes: Sequence[int],
        out_features: Sequence[str] = tuple(STRIDES),
        drop_path_rate: float = 0.0,
        freeze_at: int = 0,
        grad_checkpointing: bool = False,
    ) -> None:
        """Build with random weights; stages after the last of `out_features` are left out.

        Args:
            embed_dim: channels of the first stage; they double with each further one.
            depths: blocks of each of the four stages.
            num_heads: attention heads of each stage.
            window_sizes: tokens along the side of a window, of each stage.
            out_features: some of "res2" … "res5".
            drop_path_rate: stochastic depth at the last block of the four stages, growing linearly up to it.
            freeze_at: 0 trains all; 1 freezes the patch embedding, 2 the first stage too, and so on. The step
                to the next stage belongs to a stage, as in the official code; output norms always train.
            grad_checkpointing: in training, compute each block again in the backward pass, to save memory.

        Raises:
            ValueError: other `out_features`, or `freeze_at` is more than there are stages.
        """
        super().__init__(out_features)
        num_stages = 1 + _STAGE_NAMES.index(self._out_features[-1])
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=_PATCH_SIZE,
            embed_dim=embed_dim,
            norm_layer=nn.LayerNorm,
            output_fmt="NHWC",
            dynamic_img_pad=True,
        )
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()
        ends = list(accumulate(depths))
        self.layers = nn.ModuleList(
            SwinStage(
                channels=embed_dim * 2**index,
                num_heads=num_heads[index],
                window_size=window_sizes[index],
                drop_path_rates=rates[ends[index] - depths[index] : ends[index]],
                has_next=index + 1 < num_stages,
                grad_checkpointing=grad_checkpointing,
            )
            for index in range(num_stages)
        )
        for index, name in enumerate(_STAGE_NAMES[:num_stages]):
            if name in self._out_features:
                self._out_feature_channels[name] = embed_dim * 2**index
                self.add_module(f"norm{index}", nn.LayerNorm(embed_dim * 2**index))
        self.apply(_initialise)
        self.freeze([[self.patch_embed], *([stage] for stage in self.layers)], freeze_at)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) to (B, C, ⌈H / stride⌉, ⌈W / stride⌉) by feature name."""
        maps = {}
        x = self.patch_embed(images)
        for index, (name, stage) in enumerate(zip(_STAGE_NAMES, self.layers, strict=False)):
            x = stage(x)
            if name in self._out_features:
                maps[name] = self.get_submodule(f"norm{index}")(x).permute(0, 3, 1, 2).contiguous()
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps


def swin_sizes(name: str) -> dict[str, Any]:
    """The sizes of one of timm's Swin models, as arguments of `SwinTransformer`."""
    with torch.device("meta"):  # the structure alone: no memory, no initialisation
        model = timm.create_model(name, pretrained=False, num_classes=0)
    attentions = [stage.blocks[0].attn for stage in model.layers]
    return {
        "embed_dim": model.embed_dim,
        "depths": [len(stage.blocks) for stage in model.layers],
        "num_heads": [attention.num_heads for attention in attentions],
        "window_sizes": [attention.window_size[0] for attention in attentions],
    }


def _shifted_mask(x: Tensor, window_size: int, shift: int) -> Tensor:
    """What the attention logits of shifted windows get added in a map (B, h, w, C), as (W, S, S).

    The cyclic shift brings the first `shift` rows and columns behind the last, whose neighbours they are not.
    """
    height, width = x.shape[1:3]
    rows = torch.arange(height + -height % window_size, device=x.device)
    columns = torch.arange(width + -width % window_size, device=x.device)
    wrapped_rows, wrapped_columns = rows >= len(rows) - shift, columns >= len(columns) - shift
    regions = 2 * wrapped_rows[:, None].long() + wrapped_columns[None].long()
    windows = window_partition(regions[None, :, :, None], (window_size, window_size)).flatten(1)
    is_apart = windows[:, None] != windows[:, :, None]
    return x.new_zeros(is_apart.shape).masked_fill(is_apart, _MASKED)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

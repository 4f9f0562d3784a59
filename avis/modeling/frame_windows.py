"""Windows of consecutive frames: the frame queries that attend to each other.

Follows the window-based attention of Heo et al., "VITA", NeurIPS 2022. Windows of W frames begin at frame 0,
or, shifted, ceil(W / 2) frames before it, so that those of two layers overlap. The first and last window may
be shorter. They are filled up with places that no query attends to.

Dimensions: B clips, T frames, W frames of a window, n windows of a clip, N tokens of a frame, C channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


class FrameWindows:
    """How the T frames of clips lie in windows."""

    def __init__(self, num_frames: int, size: int, shifted: bool = False) -> None:
        """Lay out the windows.

        Args:
            num_frames: T.
            size: W.
            shifted: begin half a window earlier.
        """
        self.num_frames, self.size = num_frames, size
        # A shift by a whole window changes nothing.
        self._before = -(-size // 2) % size if shifted else 0
        self._after = -(num_frames + self._before) % size

    @property
    def num_windows(self) -> int:
        """n."""
        return (self._before + self.num_frames + self._after) // self.size

    def split(self, x: Tensor) -> Tensor:
        """(B, T, N, C) to (B·n, W·N, C), one window after the other."""
        padded = F.pad(x, (0, 0, 0, 0, self._before, self._after))
        return padded.unflatten(1, (self.num_windows, self.size)).flatten(0, 1).flatten(1, 2)

    def join(self, windows: Tensor, num_tokens: int) -> Tensor:
        """(B·n, W·N, C) back to (B, T, N, C), with N = `num_tokens`."""
        frames = windows.unflatten(1, (self.size, num_tokens)).unflatten(0, (-1, self.num_windows))
        return frames.flatten(1, 2)[:, self._before : self._before + self.num_frames]

    def allowed(self, batch: int, num_tokens: int, device: torch.device) -> Tensor | None:
        """(B·n, 1, W·N) bool, True for the tokens of frames that there are; None if all places have one."""
        if not (self._before or self._after):
            return None
        frame = torch.arange(self.num_windows * self.size, device=device) - self._before
        real = ((frame >= 0) & (frame < self.num_frames)).view(self.num_windows, 1, self.size)
        return real.repeat_interleave(num_tokens, dim=2).repeat(batch, 1, 1)

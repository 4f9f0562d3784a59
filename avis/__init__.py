"""Audio-Visual Instance Segmentation (AVIS): find, segment and track every sounding object in a video.

Follows Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709, as a Detectron2 project.
"""

import warnings

# fvcore scripts its focal loss at import; newer torch versions announce that once per process.
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)

try:
    import detectron2  # noqa: F401
except ImportError as error:
    raise ImportError(
        "avis needs the package detectron2, which is not installed. Run `bash tools/setup_env.sh` in the "
        "project's folder, or install it from its sources: pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2'"
    ) from error

__version__ = "0.1.0"

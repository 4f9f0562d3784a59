"""Audio-Visual Instance Segmentation (AVIS): find, segment and track every sounding object in a video.

Follows Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709, as a Detectron2 project.
"""

import warnings
from importlib.util import find_spec

# fvcore scripts its focal loss at import; newer torch versions announce that once per process.
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)

# Only looked for: importing it takes seconds, and what evaluates results does without.
if find_spec("detectron2") is None:
    raise ImportError(
        "avis needs the package detectron2, which is not installed. Run `bash tools/setup_env.sh` in the "
        "project's folder, or install it from its sources: pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2'"
    )

__version__ = "0.1.0"

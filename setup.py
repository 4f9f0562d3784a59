"""Packaging of avis. `bash tools/setup_env.sh` installs it, with everything pinned in requirements.txt."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from setuptools import find_packages, setup


def opencv() -> str:
    """Name the OpenCV package that is installed: each holds the module cv2, two overwrite one another."""
    for name in ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return "opencv-python-headless"


ROOT = Path(__file__).parent

setup(
    name="avis",
    version=re.search(r'^__version__ = "(.+)"$', (ROOT / "avis/__init__.py").read_text(), re.MULTILINE)[1],
    description="Audio-visual instance segmentation: find, segment and track what sounds in a video",
    author="The AVIS authors",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["avis", "avis.*"]),
    package_data={"avis.evaluation.report": ["templates/*"], "avis.dataset_tools.gallery": ["templates/*"], "avis.zoo": ["*.yaml"]},
    # Without detectron2, which has no package of its own name: `import avis` says how to get it.
    install_requires=[
        "torch>=2.11",
        "torchvision>=0.26",
        "torchaudio>=2.11",
        "timm>=1.0",
        "numpy>=2",
        "scipy",
        "pillow",
        opencv(),
        "pycocotools>=2.0.8",
        "shapely>=2",
        "av>=14",
        "matplotlib",
        "tensorboard",
        "tqdm",
        "msgspec>=0.20",
        "jinja2",
        "markupsafe",
        "fvcore",
        "iopath",
        "yacs",
        "omegaconf<2.4",
        "hydra-core",
        "termcolor",
        "tabulate",
        "cloudpickle",
        "packaging",
        "setuptools<82",
    ],
    # LOGGING.WANDB and LOGGING.MLFLOW: `pip install 'avis[tracking]'`
    extras_require={"tracking": ["wandb", "mlflow-skinny"]},
)

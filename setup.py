"""What pyproject.toml cannot say: which OpenCV the package needs, and that configs/ becomes a part of it."""

import os
from glob import glob
from importlib.metadata import PackageNotFoundError, version

from setuptools import setup
from setuptools.command.build_py import build_py


def opencv() -> str:
    """Name the OpenCV package that is installed: each holds the module cv2, two overwrite one another."""
    for name in ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return "opencv-python-headless"


class WithConfigs(build_py):
    """Puts the files of configs/ into the package, where `avis.configs` finds them without the checkout."""

    def run(self) -> None:
        """Copy the package, then the configs; an editable installation reads those of the checkout."""
        super().run()
        if self.editable_mode:
            return
        for source, target in zip(self._configs(), self._targets(), strict=True):
            self.mkpath(os.path.dirname(target))
            self.copy_file(source, target, preserve_mode=False)

    def get_source_files(self) -> list[str]:
        """What a source distribution holds."""
        return [*super().get_source_files(), *self._configs()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What the package holds."""
        return [*super().get_outputs(include_bytecode), *self._targets()]

    def _configs(self) -> list[str]:
        return sorted(glob("configs/**/*.yaml", recursive=True))

    def _targets(self) -> list[str]:
        folder = os.path.join(self.build_lib, "avis", "configs", "files")
        return [os.path.join(folder, os.path.relpath(path, "configs")) for path in self._configs()]


setup(
    cmdclass={"build_py": WithConfigs},
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
)

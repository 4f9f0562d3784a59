"""Files of the PCA of VGGish's post-processing, which its releases keep apart from its weights.

Dimensions: C channels of the features.
"""

import numpy as np
import torch

from avis.weights import StateDict, read_checkpoint

# Of the PCA's parameters in torchvggish's VGGish.
PCA_PREFIX = "pproc."
_NAMES = ("pca_eigen_vectors", "pca_means")


def read_pca(path: str) -> StateDict:
    """Read the parameters of the PCA, under the names that VGGish gives them.

    Args:
        path: torchvggish's ``vggish_pca_params-….pth``, AudioSet's ``vggish_pca_params.npz``, or any weight
            file with "pca_eigen_vectors" and "pca_means", with or without a prefix that ends in "pproc.".

    Returns:
        "pproc.pca_eigen_vectors" (C, C), a row for each component, and "pproc.pca_means" (C, 1), float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or does not have both; the message names it.
    """
    content = _read_npz(path) if path.endswith(".npz") else read_checkpoint(path)["model"]
    found = {key.rpartition(PCA_PREFIX)[2]: value.float() for key, value in content.items()}
    if missing := [name for name in _NAMES if name not in found]:
        raise ValueError(f"MODEL.AUDIO.PCA_WEIGHTS '{path}' has no {' and no '.join(missing)}")
    vectors, means = (found[name] for name in _NAMES)
    return {f"{PCA_PREFIX}{_NAMES[0]}": vectors, f"{PCA_PREFIX}{_NAMES[1]}": means.reshape(-1, 1)}


def _read_npz(path: str) -> StateDict:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"weight file not found: {path}") from error
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{path} cannot be read as a file of arrays: {error}") from error

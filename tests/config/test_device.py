"""MODEL.DEVICE on this machine."""

import pytest
import torch

from avis.config import ConfigError, get_avis_cfg, use_available_device


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_falls_back_to_the_cpu():
    cfg = get_avis_cfg()
    use_available_device(cfg)
    assert cfg.MODEL.DEVICE == "cpu"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_device_that_exists_stays(device: str):
    cfg = get_avis_cfg(opts=["MODEL.DEVICE", device])
    use_available_device(cfg)
    assert device == cfg.MODEL.DEVICE


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cpu:x", ""])
def test_a_device_that_does_not_exist_is_named_with_those_that_do(device: str):
    cfg = get_avis_cfg(opts=["MODEL.DEVICE", device])
    with pytest.raises(ConfigError, match=rf"^MODEL\.DEVICE is '{device}', but this machine has cpu"):
        use_available_device(cfg)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_mps_is_not_taken_for_granted():
    with pytest.raises(ConfigError, match="'mps'"):
        use_available_device(get_avis_cfg(opts=["MODEL.DEVICE", "mps"]))

"""Sound: waveform → log-mel examples → features."""

from avis.audio import precomputed  # noqa: F401  it registers its part
from avis.audio.audio_cnn import AudioCNN
from avis.audio.backbone import AUDIO_BACKBONE_REGISTRY, AudioBackbone
from avis.audio.build import build_audio_backbone
from avis.audio.log_mel import EXAMPLE_SECONDS, SAMPLE_RATE, SILENCE, log_mel_examples
from avis.audio.vggish import VGGish

__all__ = [
    "AUDIO_BACKBONE_REGISTRY",
    "EXAMPLE_SECONDS",
    "SAMPLE_RATE",
    "SILENCE",
    "AudioBackbone",
    "AudioCNN",
    "VGGish",
    "build_audio_backbone",
    "log_mel_examples",
]

"""Sound within a page: AAC, which browsers play, as a data URI.

Dimensions: N samples.
"""

import base64
import io

import av
import numpy as np

_RATE, _BITS_A_SECOND = 32000, 48000
# Of a second of sound in the page: base64 has four characters for three bytes, and the file has a table.
BYTES_A_SECOND = round(_BITS_A_SECOND / 8 * 4 / 3 * 1.1)


def sound_uri(waveform: np.ndarray, sample_rate: int) -> str:
    """Sound as the address of an audio element.

    Args:
        waveform: float32 (N,) within [-1, 1].
        sample_rate: in Hz.
    """
    encoded = base64.b64encode(encode(waveform, sample_rate)).decode("ascii")
    return f"data:audio/mp4;base64,{encoded}"


def encode(waveform: np.ndarray, sample_rate: int) -> bytes:
    """A file of AAC with that sound, the same bytes for the same samples."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=_RATE, layout="mono", bit_rate=_BITS_A_SECOND)
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=_RATE)
        frame = av.AudioFrame.from_ndarray(waveform[None].clip(-1, 1), format="fltp", layout="mono")
        frame.sample_rate = sample_rate
        for resampled in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))
    return content.getvalue()

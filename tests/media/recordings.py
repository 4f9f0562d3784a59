"""Small recordings as they are found in the wild, made by FFmpeg."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS, RATE = 10, 44100
HEIGHT, WIDTH = 32, 48


def grey(second: int) -> int:
    return 30 + 40 * second


def record(
    path: Path,
    seconds: int = 2,
    *,
    first: int = 0,
    sounds: tuple = (),
    size: tuple[int, int] = (HEIGHT, WIDTH),
    times: dict[int, float] | None = None,
    pixel_aspect: Fraction | None = None,
    codec: str = "aac",
) -> Path:
    """Write a video whose second s is a plane of grey(first + s), with an audio track for each waveform.

    Args:
        path: to write.
        seconds: how long it lasts.
        first: the grey of the first second.
        sounds: float waveforms (N,) at RATE.
        size: height and width.
        times: from second s on all times, of pictures and sound, are later by `times[s]` seconds.
        pixel_aspect: width of a pixel by its height.
        codec: of the sound.
    """

    def later(second: float) -> float:
        return sum(shift for begin, shift in (times or {}).items() if second >= begin)

    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FPS, options={"crf": "1", "bf": "0", "g": "5"})
        video.height, video.width, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        if pixel_aspect:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        tracks = [output.add_stream(codec, rate=RATE, layout="mono") for _ in sounds]
        packets = []
        for index in range(seconds * FPS):
            level = grey(first + index // FPS)
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index * 1000 // FPS, Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None)
        for track, sound in zip(tracks, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            blocks = av.AudioResampler(format=track.format, frame_size=track.frame_size)
            for block in [*blocks.resample(frame), *blocks.resample(None)]:
                packets += track.encode(block)
            packets += track.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            shift = round(later(packet.pts * packet.time_base) / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            output.mux(packet)
    return path


def tone(seconds: float = 2, begin: float = 0, amplitude: float = 0.5) -> np.ndarray:
    """A tone of 440 Hz from `begin` on, over silence (N,)."""
    time = np.arange(round(seconds * RATE)) / RATE
    return amplitude * np.sin(2 * np.pi * 440 * time) * (time >= begin)


def shown_seconds(frames) -> list[int]:
    """Which grey(second) each frame shows."""
    return [round((float(np.median(frame)) - 30) / 40) for frame in frames]


def onset(waveform: np.ndarray, rate: int) -> float:
    """When the first loud sample sounds, in seconds."""
    return float(np.flatnonzero(np.abs(waveform) > 0.2)[0] / rate)


def remux(
    source: Path,
    target: Path,
    later: Callable[[av.Packet], float | None] = lambda packet: 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Copy packets, each later by `later(packet)` seconds, or left out where that is None."""
    with av.open(str(source)) as container, av.open(str(target), "w", options=options or {}) as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        packets = []
        for packet in container.demux():
            seconds = None if packet.dts is None else later(packet)
            if seconds is not None:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packets.append((packet.dts * packet.time_base, packet.stream.index, packet))
        for _, index, packet in sorted(packets, key=lambda entry: entry[:2]):
            packet.stream = streams[index]
            output.mux(packet)
    return target

"""The clock of a recording, which recorders restart and set while they record.

FFmpeg's own tools mend the same faults (`dts_delta_threshold` of `ffmpeg`); its libraries leave them.
"""

from fractions import Fraction

# A stream that goes back by more has restarted; less is jitter.
_JITTER = Fraction(1, 4)


class SteadyClock:
    """Shifts the times of a file's streams so that they never restart or jump.

    All streams share one clock. A picture that is held while the sound goes on is therefore no jump.

    Attributes:
        breaks: the times, in seconds, at which the recorder's clock broke.
    """

    def __init__(self, limit: Fraction):
        """Take a step of more than `limit` seconds, in which no stream has anything, for a jump."""
        self.breaks: list[Fraction] = []
        self._limit = limit
        self._newest = Fraction(0)
        self._shifts: dict[int, Fraction] = {}
        self._times: dict[int, Fraction] = {}
        self._ends: dict[int, Fraction] = {}

    @property
    def end(self) -> Fraction:
        """The end of what has come so far, in seconds."""
        return max(self._ends.values(), default=Fraction(0))

    def shift(self, stream: int, time: Fraction, duration: Fraction) -> Fraction:
        """What to add to the time of a stream's next packet.

        Args:
            stream: index of the stream.
            time: the packet's, in seconds; a stream's packets come in the order of their times.
            duration: of the packet, in seconds.
        """
        shift = self._fitting_shift(stream, time)
        self._shifts[stream] = shift
        self._times[stream] = time + shift
        self._ends[stream] = time + shift + duration
        return shift

    def _fitting_shift(self, stream: int, time: Fraction) -> Fraction:
        """The stream's shift, or that of a stream which has passed the same break before, or a new one."""
        if stream not in self._shifts:
            return self._newest
        for shift in (self._shifts[stream], self._newest):
            if self._times[stream] - _JITTER <= time + shift <= self.end + self._limit:
                return shift
        self.breaks.append(self._ends[stream])
        self._newest = self._ends[stream] - time
        return self._newest

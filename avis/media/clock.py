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
        breaks: the seconds after the beginning at which the recorder's clock broke.
    """

    def __init__(self, limit: Fraction, leader: int | None = None):
        """Take a step of more than `limit` seconds, in which no stream has anything, for a jump.

        Where the streams end apart before a break, they go on from the end of stream `leader`.
        """
        self.breaks: list[Fraction] = []
        self._limit, self._leader = limit, leader
        self._newest = Fraction(0)
        self._begin: Fraction | None = None
        self._shifts: dict[int, Fraction] = {}
        self._times: dict[int, Fraction] = {}
        self._durations: dict[int, Fraction] = {}

    @property
    def end(self) -> Fraction:
        """The end of what has come so far, in seconds."""
        return max(map(self._end, self._times), default=Fraction(0))

    def shift(self, stream: int, time: Fraction, duration: Fraction) -> Fraction:
        """What to add to the time of a stream's next packet.

        Args:
            stream: index of the stream.
            time: the packet's, in seconds; a stream's packets come in the order of their times.
            duration: of the packet, in seconds; one beyond the limit is that of the packet before.
        """
        self._begin = time if self._begin is None else self._begin
        if stream not in self._shifts:
            self._shifts[stream] = self._newest
        elif not self._goes_on(stream, time + self._shifts[stream]):
            self._shifts[stream] = self._newest = self._shift_after_break(stream, time)
        elif stream != self._leader and abs(self._newest - self._shifts[stream]) <= _JITTER:
            self._shifts[stream] = self._newest
        self._times[stream] = time + self._shifts[stream]
        if duration <= self._limit or stream not in self._durations:
            self._durations[stream] = min(duration, self._limit)
        return self._shifts[stream]

    def _end(self, stream: int) -> Fraction:
        return self._times[stream] + self._durations[stream]

    def _goes_on(self, stream: int, time: Fraction) -> bool:
        return self._times[stream] - _JITTER <= time <= self.end + self._limit

    def _shift_after_break(self, stream: int, time: Fraction) -> Fraction:
        """The shift of a stream that has passed the same break before, or a new one."""
        end = self._end(stream)
        end = end if self.end - end <= _JITTER else self.end
        exact = end - time
        if self._goes_on(stream, time + self._newest):
            near = abs(self._newest - exact) <= _JITTER
            return exact if stream == self._leader and near else self._newest
        self.breaks.append(end - self._begin)
        return exact

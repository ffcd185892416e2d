"""What a text costs the worker, measured from its last passes."""

import math

MEMORY_SECONDS = 2.0
"""Seconds of work after which a pass weighs 1/e."""


class Rate:
    """A mean over passes that forgets the old ones."""

    def __init__(self) -> None:
        self.seconds_each = 0.0
        """Of one text; 0 until the first was answered, so nothing is refused on a guess."""
        self._texts = self._seconds = 0.0

    def add(self, texts: int, seconds: float) -> None:
        """Tell of one pass, its tokenizing included; it answers no text when each has windows."""
        kept = math.exp(-seconds / MEMORY_SECONDS)
        self._texts = kept * self._texts + texts
        self._seconds = kept * self._seconds + seconds
        if texts:
            self.seconds_each = self._seconds / self._texts

"""Progress of one transfer, whoever moves the bytes."""

from components.console import Progress

WORTH_TELLING = 1 << 20
"""Smaller transfers are over before a line about them is read."""


class Transfer:
    """Counts received bytes and prints KiB of the total, where the total is known."""

    def __init__(self, step: str, name: str, total: int | None) -> None:
        known = total is not None and total >= WORTH_TELLING
        self._progress = (
            Progress(step, f"downloading {name}, KiB", (total or 0) >> 10) if known else None
        )
        self._received = 0

    def update(self, increment: int) -> None:
        """Report that `increment` more bytes arrived."""
        self._received += increment
        if self._progress is not None:
            self._progress.reach(self._received >> 10)

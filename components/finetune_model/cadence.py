"""When to checkpoint: by the clock, but at the same step on every process."""

import time

import torch
import torch.distributed as dist

_STEPS_TO_MEASURE = 3


class Cadence:
    """Turns minutes into steps by the slowest clock.

    All processes must save at the same step; asking each other at every step would make them wait.
    """

    def __init__(self, minutes: float, device: torch.device) -> None:
        self._seconds = 60 * minutes
        self._device = device
        self._last: tuple[int, float] | None = None
        self._next = 0

    def due(self, step: int, *, busy: bool) -> bool:
        """True when a checkpoint is to be written after `step`; call it after each step.

        `busy` on any process, an upload still under way, puts it off.
        """
        now = time.monotonic()
        if self._last is None:
            self._last, self._next = (step, now), step + _STEPS_TO_MEASURE
            return False
        if step < self._next:
            return False
        since, then = self._last
        steps = round(self._seconds * (step - since) / (now - then))
        agreed = torch.tensor([max(1, steps), int(busy)], device=self._device)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        interval, anyone_busy = agreed.tolist()
        if step - since < interval:
            self._next = since + interval
            return False
        if anyone_busy:
            self._next = step + max(1, interval // 10)
            return False
        self._last, self._next = (step, now), step + interval
        return True

"""Which texts share a forward pass, and how many tokens it computes for them."""

from dataclasses import dataclass

ATTENTION = 2
"""Padded tokens that attention may see in a packed pass, over the tokens of a full pass."""


@dataclass(frozen=True)
class Passes:
    """The forward passes of a backend: of `tokens` at most, unless a single text has more.

    Where the backend `packs`, texts of any lengths share a pass. Elsewhere they share it with those
    of their padded length: all of its tokens are computed.
    """

    tokens: int
    packs: bool

    def group(self, padded: int) -> int:
        """Texts of one group may share a pass."""
        return 0 if self.packs else padded

    def cost(self, padded: int, length: int) -> int:
        """Tokens that are computed for a text of `length` tokens, `padded` with padding."""
        return length if self.packs else padded

    @property
    def least(self) -> int:
        """A quarter of a full pass is as fast for each token; of fewer, each takes longer."""
        return self.tokens // 4

    def share(self, waiting: int, lanes: int) -> int:
        """Tokens for the next pass where `waiting` are to be computed and `lanes` take from them.

        Passes become smaller towards the end, so that all lanes end together, but not below the
        `least`, which would only cost time.
        """
        full = -(-waiting // (lanes * self.tokens))
        return max(self.least, -(-waiting // max(1, lanes * full)))


class Filling:
    """A forward pass that texts of one group are put in."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._rows = self._longest = self.tokens = 0

    def takes(self, padded: int, length: int) -> bool:
        """Put a text in, unless the pass has no room for it; the first always has."""
        tokens = self.tokens + self._passes.cost(padded, length)
        longest = max(self._longest, padded)
        room = tokens <= self._passes.tokens
        room = room and (self._rows + 1) * longest <= ATTENTION * self._passes.tokens
        if self._rows and not room:
            return False
        self._rows, self._longest, self.tokens = self._rows + 1, longest, tokens
        return True

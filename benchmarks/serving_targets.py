"""What benchmarks/serving.py holds against what: its rows over the rounds, and the targets."""

import itertools
from typing import Any

import numpy as np

from benchmarks.results import Target, at_least, at_most

CONCURRENCIES = (1, 8, 32, 128)
TARGET_CONCURRENCIES = (8, 32)
TEXTS_A_REQUEST = (1, 32)
EXACT, REDUCED = "openvino", ("openvino-bf16", "openvino-int8")
PEER, LITSERVE = "kserve peer", "litserve"

Row = dict[str, Any]
Key = tuple[str, int, int]
"""Server, concurrency, and texts a request. Of a loop without a server its name, the number of
texts in hand (0: length-sorted batches), and 0."""
Tries = dict[Key, list[Row]]
"""A row for each round."""


def row_of(shape: str, server: str, concurrency: int, size: int, speed: float) -> Row:
    """A row of the table whose latency and memory are not known yet.

    Its `ceiling`, where a target holds it against one, is its backend's in texts a second.
    """
    keys = ("ceiling", "p50_ms", "p99_ms", "health_p99_ms", "rss_mb")
    return {
        "model": shape,
        "server": server,
        "concurrency": concurrency,
        "texts_a_request": size,
        "texts_per_second": speed,
        **dict.fromkeys(keys, ""),
    }


def order(key: Key) -> tuple[str, int, int]:
    """The table's order: by server, texts a request, concurrency."""
    return key[0], key[2], key[1]


def median(tries: list[Row]) -> Row:
    """One row for those of all rounds: the median of each number."""
    numbers = [key for key, value in tries[0].items() if isinstance(value, float)]
    return {**tries[0], **{key: float(np.median([row[key] for row in tries])) for key in numbers}}


def targets_of(shape: str, tries: Tries) -> list[Target]:
    """The targets of one model shape; each ratio is the median of those within a round."""

    def ratio(ours: Key, theirs: Key, of: str = "texts_per_second") -> float:
        rounds = zip(tries[ours], tries[theirs], strict=True)
        return float(np.median([one[of] / other[of] for one, other in rounds]))

    def of_ceiling(ours: Key) -> float:
        return float(np.median([row["texts_per_second"] / row["ceiling"] for row in tries[ours]]))

    targets = []
    for size, concurrency in itertools.product(TEXTS_A_REQUEST, TARGET_CONCURRENCIES):
        at = (concurrency, size)
        where = f"{shape}, {size} texts a request, concurrency {concurrency}"
        times_peer = {
            name: ratio((f"finegate {name}", *at), (PEER, *at))
            for name in (EXACT, *REDUCED)
            if (f"finegate {name}", *at) in tries
        }
        reduced = max(times_peer.keys() - {EXACT}, key=times_peer.__getitem__)
        for name, times in ((EXACT, 2.5), (reduced, 6)):
            share = of_ceiling((f"finegate {name}", *at))
            targets += [
                at_least(f"{where}: {name} / peer", times_peer[name], times),
                at_least(f"{where}: {name} / ceiling", share, 0.85),
            ]
    for size in TEXTS_A_REQUEST:
        p50 = ratio((f"finegate {EXACT}", 1, size), (PEER, 1, size), "p50_ms")
        name = f"{shape}, {size} texts a request, concurrency 1: p50 {EXACT} / peer"
        targets.append(at_most(name, p50, 0.5))
    worst = min(
        ratio((f"finegate {EXACT}", *at), (LITSERVE, *at))
        for at in itertools.product(CONCURRENCIES, TEXTS_A_REQUEST)
    )
    targets.append(at_least(f"{shape}: {EXACT} / LitServe, worst row", worst, 1))
    ours = (rows[0] for key, rows in tries.items() if key[0].startswith("finegate"))
    health = max(row["health_p99_ms"] for row in ours)
    targets.append(at_most(f"{shape}: health p99 in ms, worst row", health, 50))
    return targets

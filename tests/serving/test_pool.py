from collections.abc import Sequence

from serving.encoding import Encoded
from serving.passes import Passes
from serving.pool import Job, Pool


def encoded(lengths: Sequence[int]) -> list[list[Encoded]]:
    return [[Encoded({"input_ids": [0] * length}, truncated=False)] for length in lengths]


def taken(pool: Pool) -> list[list[tuple[int, int]]]:
    """(place, tokens) of each row of each pass, until none waits."""
    passes = []
    while pool:
        batch, _ = pool.take(1)
        passes.append([(row.place, len(row.encoded)) for row in batch])
    return passes


def test_texts_of_a_request_share_a_pass_with_those_of_a_like_length() -> None:
    pool = Pool(len, Passes(64, packs=True))
    lengths = [32, 8, 32, 8, 32, 8, 32, 8]
    job = Job.of(["text"] * 8, None, 2)
    pool.add(job, encoded(lengths[:6]))
    pool.add(job, encoded(lengths[6:]))
    passes = taken(pool)
    assert passes[0] == [(1, 8), (3, 8), (5, 8), (0, 32)]
    assert sorted(row for batch in passes for row in batch) == list(enumerate(lengths))

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.encoding import Encoded
from serving.passes import Filling, Passes
from serving.pool import LOOKAHEAD, Job, Pool

PASSES = Passes(512, packs=True)


def encoded(lengths: Sequence[int]) -> list[list[Encoded]]:
    return [[Encoded({"input_ids": [0] * length}, truncated=False)] for length in lengths]


def padded(row: Encoded) -> int:
    return -(-len(row) // 16) * 16


def add(pool: Pool, *lengths: int) -> Job:
    """A request for texts of so many tokens, which wait."""
    job = Job.of(["text"] * len(lengths), None, 2)
    job.turn = pool.turn
    pool.add(job, encoded(lengths))
    return job


def taken(pool: Pool) -> list[list[tuple[int, int]]]:
    """(place, tokens) of each row of each pass, until none waits."""
    passes = []
    while pool:
        batch, _ = pool.take(1)
        passes.append([(row.place, len(row.encoded)) for row in batch])
    return passes


def by_turns(lengths: Sequence[int]) -> list[list[int]]:
    """Passes filled with texts of so many tokens as they come."""
    passes, waiting = [], list(lengths)
    while waiting:
        share, filling = PASSES.share(sum(waiting), 1), Filling(PASSES)
        count = 0
        while count < len(waiting) and filling.tokens < share:
            if not filling.takes(waiting[count], waiting[count]):
                break
            count += 1
        passes.append(waiting[:count])
        del waiting[:count]
    return passes


def attended(passes: Sequence[Sequence[int]]) -> int:
    """Pairs of tokens that attention sees in passes of texts of so many tokens."""
    return sum(len(lengths) * max(lengths) ** 2 for lengths in passes)


def test_texts_of_a_request_share_a_pass_with_those_of_a_like_length() -> None:
    pool = Pool(len, Passes(64, packs=True))
    lengths = [32, 8, 32, 8, 32, 8, 32, 8]
    job = Job.of(["text"] * 8, None, 2)
    pool.add(job, encoded(lengths[:6]))
    pool.add(job, encoded(lengths[6:]))
    passes = taken(pool)
    assert passes[0] == [(1, 8), (3, 8), (5, 8), (7, 8)]
    assert sorted(row for batch in passes for row in batch) == list(enumerate(lengths))


def test_requests_share_a_pass_with_those_of_a_like_length() -> None:
    draw, pool = random.Random(0), Pool(len, PASSES)
    lengths = [min(256, int(draw.lognormvariate(3.7, 0.7))) for _ in range(200)]
    for length in lengths:
        add(pool, length)
    alike = [[length for _, length in batch] for batch in taken(pool)]
    assert attended(alike) < 0.6 * attended(by_turns(lengths))
    assert len(alike) <= len(by_turns(lengths))


def test_passes_over_what_came_together_are_equal_and_planned_anew_when_more_comes() -> None:
    pool = Pool(padded, PASSES)
    add(pool, *[35] * 32)
    assert [pool.take(2)[1] for _ in range(2)] == [280, 280]
    add(pool, *[35] * 32)
    assert [pool.take(2)[1] for _ in range(4)] == [420] * 4
    assert not pool


@pytest.mark.parametrize("length", [8, 60, 250])
def test_a_text_of_another_length_is_not_overtaken_for_ever(length: int) -> None:
    pool = Pool(len, PASSES)
    found = False
    latest: dict[Job, int] = {}  # the pass that each is in at the latest, as they are due
    for number in range(60):
        arrive = [100, 100, 100, 30, 100, 100, 180, 100, 100]  # more than are taken
        for tokens in [*arrive, length] if number == 5 else arrive:
            latest[add(pool, tokens)] = number + len(latest)
        batch, _ = pool.take(1)
        found = found or length in [len(row.encoded) for row in batch]
        jobs = [row.job for row in batch]
        assert next(iter(latest)) in jobs
        assert all(number <= latest.pop(job) for job in jobs)
    assert found


def test_a_pass_takes_none_of_the_rows_that_are_due_much_later() -> None:
    pool = Pool(len, PASSES)
    for length in [128, *[96] * (LOOKAHEAD * PASSES.tokens // 96), *[128] * 9]:
        add(pool, length)
    assert [length for _, length in taken(pool)[0]] == [128, 96, 96, 96, 96]


def test_a_dropped_request_is_in_no_pass_and_counts_for_none() -> None:
    pool = Pool(len, PASSES)
    first, gone, last = add(pool, 16), add(pool, *[16] * 20), add(pool, 16)
    gone.unanswered = 0
    batch, tokens = pool.take(1)
    assert [row.job for row in batch] == [first, last]
    assert tokens == 32
    assert pool.tokens == 0
    assert not pool
    add(pool, 16).unanswered = 0
    assert pool.take(1) == ([], 0)
    assert pool.tokens == 0
    assert not pool


@given(
    st.booleans(),
    st.lists(
        st.lists(st.integers(1, 300), min_size=1, max_size=40).map(sorted)  # arrives
        | st.integers(0, 20)  # of the requests that came, one is dropped
        | st.none(),  # a pass
        max_size=40,
    ),
)
def test_each_row_is_taken_once_and_the_first_that_is_due_next(
    packs: bool, steps: list[list[int] | int | None]
) -> None:
    pool = Pool(padded, Passes(512, packs))
    jobs: list[Job] = []
    waiting: list[tuple[int, int, int]] = []  # (turn, job, place), as they are due

    def check_pass() -> None:
        nonlocal waiting
        waiting = [row for row in waiting if jobs[row[1]].unanswered]
        batch, tokens = pool.take(2)
        assert tokens == sum(pool._cost(row) for row in batch)
        due = {(row.job, row.place): row for row in batch}
        assert len(due) == len(batch)
        passed = [row for row in waiting if (jobs[row[1]], row[2]) in due]
        assert len(passed) == len(batch)
        assert passed[:1] == waiting[:1]
        if not packs and batch:  # those that are due first of a padded length
            assert [(jobs[job], place) for _, job, place in passed] == list(due)
            assert len({row.padded for row in batch}) == 1
        if passed:
            assert pool.turn >= passed[0][0]
        waiting = [row for row in waiting if row not in passed]

    for step in steps:
        if step is None:
            check_pass()
        elif isinstance(step, int):
            for job in jobs[step : step + 1]:
                job.unanswered = 0
        else:
            turns = range(pool.turn, pool.turn + len(step))
            waiting += [(turn, len(jobs), place) for place, turn in enumerate(turns)]
            jobs.append(add(pool, *step))
            waiting.sort()
    while pool:
        check_pass()
    assert pool.tokens == 0
    assert not [row for row in waiting if jobs[row[1]].unanswered]

"""Shards on all cores: a process a core, since a part of the work is Python's."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.tokenize_dataset.shards import Shard, write

if TYPE_CHECKING:
    from serving.encoding import Encoder

WORTH_PROCESSES = 200_000
"""Rows; a process takes seconds to import torch."""
_encoder: "Encoder | None" = None


def tokenized(
    shards: Sequence[Shard],
    tokenizer: Path,
    target: Path,
    problem_type: str,
    labels: list[str],
    processes: int,
) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Write each shard under `target`; yields it with its counts as soon as it is done.

    What is over before other processes have started is done here, with the tokenizer's threads.
    """
    jobs = [(shard, target / shard.name, tokenizer, problem_type, labels) for shard in shards]
    for _, path, *_rest in jobs:
        path.parent.mkdir(parents=True, exist_ok=True)
    if min(processes, len(jobs)) <= 1 or sum(shard.rows for shard in shards) < WORTH_PROCESSES:
        for job in jobs:
            yield job[0], _work(*job)
        return
    # Not forked: torch and the tokenizer's threads would be in an unknown state.
    with ProcessPoolExecutor(
        min(processes, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_alone,
    ) as pool:
        submit: Callable[..., Any] = pool.submit
        futures = {submit(_work, *job): job[0] for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _alone() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _work(
    shard: Shard, path: Path, tokenizer: Path, problem_type: str, labels: list[str]
) -> dict[str, Any]:
    from serving.encoding import Encoder

    global _encoder
    if _encoder is None or _encoder.tokenizer.name_or_path != str(tokenizer):
        _encoder = Encoder.from_folder(tokenizer)
    return write(shard, path, _encoder, problem_type, labels)

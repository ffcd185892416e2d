"""A store as months of runs leave it: models, candidates, history, and hostile strings."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from components import storage

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
HOSTILE_NAME = '"><img src=x onerror=alert(2)>'
MODELS = ("hotel-reviews", "film-reviews", HOSTILE_NAME)
LABELS = ["好评", "差评", HOSTILE]
BEGAN = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)


def fill(store: str, runs: int, models: tuple[str, ...] = MODELS) -> None:
    """Write `runs` runs over `models`, one a turn, with reports, promotions and releases.

    Candidates are written in their order, by which they are listed; the rest side by side.
    """
    documents = dict(_documents(runs, models))
    candidates = [key for key in documents if "/candidates/" in key]
    with ThreadPoolExecutor(16) as pool:
        rest = documents.keys() - candidates
        written = pool.map(lambda key: _write(store, key, documents[key]), rest)
        for key in candidates:
            _write(store, key, documents[key])
        list(written)


def promote(store: str, model: str, number: int, version: str, run: str, reason: str) -> None:
    """Append a promotion and its release, as promote_model does."""
    for key, document in _promotion(model, number, version, run, reason, BEGAN, 0.93):
        _write(store, key, document)


def _write(store: str, key: str, document: Any) -> None:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    storage.write_bytes(f"{store}/{key}", content, "application/json")


def _documents(runs: int, models: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    chance = random.Random(8)
    champions: dict[str, tuple[int, str, float]] = {}
    for index in range(runs):
        model = models[index % len(models)]
        at = BEGAN + timedelta(hours=20 * index)
        run, version = f"{at:%Y%m%d-%H%M%S}-{index:06x}", f"{chance.getrandbits(48):012x}"
        accuracy = min(0.82 + 0.12 * index / runs + chance.gauss(0, 0.015), 0.99)
        before = champions.get(model)
        accepted = before is None or accuracy > before[2] - 0.003
        failed = [] if accepted else ["no regression against the champion", f"recall of {HOSTILE}"]
        yield (
            f"models/{model}/candidates/{run}.json",
            {
                "run": run,
                "version": version,
                "decision": "accepted" if accepted else "rejected",
                "reason": "All 9 checks passed." if accepted else f"2 of 9 failed: {HOSTILE}",
                "at": at.isoformat(),
                "checks": 9,
                "failed": failed,
                "metrics": {"accuracy": accuracy, "macro_f1": accuracy - 0.004, "rows": 917},
                "champion": before
                and {
                    "version": before[1],
                    "number": before[0],
                    "metrics": {"accuracy": before[2] + chance.gauss(0, 0.002)},
                },
            },
        )
        yield f"runs/{run}/report.html", f"<!doctype html><title>{run}</title>{HOSTILE}".encode()
        if accepted:
            number = before[0] + 1 if before else 1
            champions[model] = (number, version, accuracy)
            yield from _promotion(model, number, version, run, "All 9 checks passed.", at, accuracy)


def _promotion(
    model: str, number: int, version: str, run: str, reason: str, at: datetime, accuracy: float
) -> Iterator[tuple[str, Any]]:
    yield (
        f"models/{model}/{version}/release.json",
        {
            "name": model,
            "version": version,
            "labels": LABELS,
            "metrics": {"accuracy": accuracy, "macro_f1": accuracy - 0.004, "rows": 917},
            "files": [],
        },
    )
    yield (
        f"models/{model}/promotions/{number:06d}.json",
        {
            "number": number,
            "action": "promote",
            "version": version,
            "run": run,
            "reason": reason,
            "by": "finegate",
            "at": at.isoformat(),
        },
    )


def roll_out(store: str, model: str, base: str) -> None:
    """Record that the model's newest rollout ended at an endpoint."""
    document = {"number": 1, "version": "", "url": f"{base}/v1/models/{model}:predict", "at": ""}
    _write(store, f"models/{model}/rollouts/000001.json", document)

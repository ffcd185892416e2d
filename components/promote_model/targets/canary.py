"""Does the new version answer what was measured, in time, under a share of the real traffic?"""

from collections.abc import Iterator
from itertools import cycle, islice
from string import Template
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from components import answers, folders, storage
from components.console import say
from components.promote_model.settings import Canary, KServeTarget, Prometheus
from components.promote_model.targets.base import RolloutFailedError
from serving.errors import InputError

STEP = "promote_model"
TRIES = 20
"""Requests for each golden row that the canary should get by its share, before it counts as
silent: at a share p, none of n independent tries arrives with probability (1 - p)^n, which is
below e^-20."""


class Judge:
    """Asks golden rows at a service's real URL and compares with the release's evaluation."""

    def __init__(self, target: KServeTarget, rules: Canary, release: dict[str, Any]) -> None:
        self.rules = rules
        self._target = target
        self._version = str(release["version"])
        uri = folders.address(release["lineage"]["evaluation"], "golden.json")
        golden = storage.read_json(uri)
        if golden is None:
            raise InputError(
                f"there is no {uri}, so a canary of {self._version} has nothing to be compared "
                "with. Evaluate the model again, or take canary out of the target."
            )
        self._labels: list[str] = golden["labels"]
        self._rows: list[dict[str, Any]] = golden["rows"][: rules.rows]

    def judge(self, url: str, percent: int, pods: str) -> None:
        """Raise RolloutFailedError unless every golden row is answered right by the new version.

        At a share of `percent` other answers come from the version before; they are counted out.
        `pods` is a regular expression of the new version's pods, for Prometheus.
        """
        found, latencies = 0, []
        for answer, row, milliseconds in self._answers(url, percent):
            if answer.get("model_version") != self._version:
                continue
            latencies.append(milliseconds)
            self._compare(answer, row)
            found += 1
            if found == len(self._rows):
                break
        if found < len(self._rows):
            raise RolloutFailedError(
                f"at {percent} % only {found} of {len(self._rows)} golden rows were answered by "
                f"{self._version}"
            )
        p99 = float(np.percentile(latencies, 99))
        if p99 > self.rules.p99_ms:
            raise RolloutFailedError(
                f"at {percent} % it answered golden rows in {p99:.0f} ms (p99), over "
                f"{self.rules.p99_ms:g} ms"
            )
        if self.rules.prometheus is not None:
            self._ask_prometheus(self.rules.prometheus, percent, pods)
        say(STEP, f"{percent} % of the traffic: {found} golden rows as measured, p99 {p99:.0f} ms")

    def _answers(
        self, url: str, percent: int
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any], float]]:
        """Answers with their rows and times in ms; the row stays until the new version had it."""
        host = urlsplit(url).netloc
        address = f"{self._target.gateway or url}/v1/models/{self._target.service}:predict"
        most = -(-TRIES * len(self._rows) * 100 // percent)
        with httpx.Client(timeout=max(10.0, 4 * self.rules.p99_ms / 1000)) as client:
            for row in islice(cycle(self._rows), most):
                began = perf_counter()
                try:
                    answer = client.post(
                        address, json={"instances": [answers.instance(row)]}, headers={"Host": host}
                    )
                except httpx.HTTPError as error:
                    raise RolloutFailedError(
                        f"at {percent} % a request failed: {type(error).__name__} {error}"
                    ) from error
                if answer.status_code != 200:
                    raise RolloutFailedError(
                        f"at {percent} % a request was answered {answer.status_code}: "
                        f"{answer.text[:200]}"
                    )
                yield answer.json(), row, 1000 * (perf_counter() - began)

    def _compare(self, answer: dict[str, Any], row: dict[str, Any]) -> None:
        scores = answers.scores(answer)
        if set(scores) != set(self._labels):
            raise RolloutFailedError(f"it answers the labels {sorted(scores)}, not {self._labels}")
        worst = answers.largest_difference(scores, self._labels, row["probabilities"])
        if worst > self.rules.tolerance:
            raise RolloutFailedError(
                f"a golden row's probability differs by {worst:.3g} from the evaluation's, over "
                f"{self.rules.tolerance:g}"
            )

    def _ask_prometheus(self, rules: Prometheus, percent: int, pods: str) -> None:
        bounds = (
            ("share of failed requests", rules.errors, rules.max_errors),
            ("p99 latency in ms", rules.p99, rules.max_p99_ms),
        )
        for name, query, bound in bounds:
            filled = Template(query).safe_substitute(namespace=self._target.namespace, pods=pods)
            value = _value(rules.url, filled)
            if value is not None and value > bound:
                raise RolloutFailedError(
                    f"at {percent} % Prometheus tells a {name} of {value:.4g}, over {bound:g}"
                )


def _value(url: str, query: str) -> float | None:
    """A query's single value, or None where there is no data.

    https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
    """
    try:
        answer = httpx.get(f"{url.rstrip('/')}/api/v1/query", params={"query": query}, timeout=30)
        answer.raise_for_status()
        result = answer.json()["data"]["result"]
    except (httpx.HTTPError, LookupError, ValueError) as error:
        # Not knowing is no proof of health: the canary goes back.
        raise RolloutFailedError(f"Prometheus at {url} cannot be asked ({error})") from error
    if not result:
        return None
    value = float(result[0]["value"][1])
    return None if np.isnan(value) else value

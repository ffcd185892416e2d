"""Kill a promotion after every request that changes something, and run it again: one end state."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3.connectionpool

from components import promotions, storage
from components.promote_model.interventions import rollback
from components.promote_model.promotion import RolledBackError, promote
from components.promote_model.settings import Canary, KServeTarget, PromotionSettings
from serving.errors import InputError
from tests.components.promote_model.candidates import judged
from tests.components.promote_model.cluster import Cluster, running, version_of

READS = {"GET", "HEAD"}
KILLED, DONE, REFUSED, DEFECT = 99, 0, 1, 2
CANARY = Canary(steps=(25, 100), pause=0, rows=2, p99_ms=10_000)

Scenario = tuple[str, str, bool]
"""What is run (first, promote, failing, rollback; abandoned is a promotion that a rollback follows
instead of a second try), the service's mode, with a canary or not."""
SCENARIOS: list[Scenario] = [
    ("first", "Standard", False),
    ("promote", "Standard", False),
    ("promote", "Knative", False),
    ("promote", "Standard", True),
    ("promote", "Knative", True),
    ("failing", "Standard", True),
    ("failing", "Knative", True),
    ("abandoned", "Standard", True),
    ("abandoned", "Knative", True),
    ("rollback", "Standard", False),
    ("rollback", "Knative", False),
]


def in_child(work: Callable[[], Any], kill_after: int | None) -> tuple[int, int]:
    """Run `work` in a forked process that dies at once after so many writes to S3 and Kubernetes.

    Returns how it ended and how many writes it made. boto3 and the Kubernetes client both send
    with urllib3, so every write on the wire is counted, those of threads too. A kill after a read
    leaves what the write before it left.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        made = 0
        send = urllib3.connectionpool.HTTPConnectionPool.urlopen

        def counted(pool: Any, method: str, *args: Any, **kwargs: Any) -> Any:
            nonlocal made
            answer = send(pool, method, *args, **kwargs)
            made += method not in READS
            if made == kill_after and method not in READS:
                os._exit(KILLED)  # as SIGKILL: no handler, no buffer, no other thread goes on
            return answer

        urllib3.connectionpool.HTTPConnectionPool.urlopen = counted  # type: ignore[method-assign]  # counts calls
        storage.client.cache_clear()  # the parent's sockets are not ours
        ended = DEFECT
        try:
            work()
            ended = DONE
        except InputError:
            ended = REFUSED
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
        os.write(writing, str(made).encode())
        os._exit(ended)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        made = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), int(made or 0)


class World:
    """A store and a cluster as they are before the work, and the work."""

    def __init__(self, scenario: Scenario, store: str, cluster: Cluster) -> None:
        self.what, _, canary = scenario
        self.store, self.cluster = store, cluster
        self.settings = PromotionSettings(
            target=KServeTarget(
                namespace="team",
                service="hotels",
                seconds=30,
                canary=CANARY if canary else None,
            )
        )
        self.first = judged(store, "r1")
        self.second = ""
        if self.what != "first":
            promote(store, "m", "r1", self.settings)
            self.second = judged(store, "r2")
        if self.what == "rollback":
            promote(store, "m", "r2", self.settings)
        if self.what == "failing":
            cluster.behaviours[self.second] = "wrong"

    def work(self) -> None:
        if self.what == "rollback":
            rollback(self.store, "m", self.settings)
        else:
            promote(self.store, "m", "r1" if self.what == "first" else "r2", self.settings)

    def work_again(self) -> None:
        """As a person or KFP does after a kill: the same command."""
        try:
            if self.what == "abandoned":
                rollback(self.store, "m", self.settings)
            else:
                self.work()
        except RolledBackError:
            assert self.what == "failing"
        except InputError:  # nothing (left) to roll back
            assert self.what in ("rollback", "abandoned")
        else:
            assert self.what != "failing"

    def assert_sound(self) -> None:
        """Holds after a kill at any point."""
        events = promotions.history(self.store, "m")
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        for event in events:
            release = promotions.release(self.store, "m", event.version)
            assert release is not None, "a champion that does not exist"
            uri = promotions.release_uri(self.store, "m", event.version)
            for file in release["files"]:
                content = storage.read_bytes(f"{uri}/{file['path']}")
                assert content is not None
                assert len(content) == file["size"]
        self.assert_traffic({event.version for event in events})

    def assert_traffic(self, allowed: set[str]) -> None:
        assert {version_of(uri) for uri, _ in self.cluster.traffic} <= allowed

    def assert_ended(self) -> None:
        """Holds after running it again: the one end state."""
        versions = {
            "first": [self.first],
            "promote": [self.first, self.second],
        }.get(self.what, [self.first, self.second, self.first])
        events = promotions.history(self.store, "m")
        if self.what == "abandoned" and len(events) == 1:  # killed before it was decided
            versions = [self.first]
        assert [event.version for event in events] == versions
        assert promotions.answers(self.store, "m", events[-1])
        uri = promotions.release_uri(self.store, "m", versions[-1])
        assert self.cluster.traffic == [(f"{uri}/", 100)]
        spec = self.cluster.object["spec"]
        assert spec["predictor"]["model"]["storageUri"] == f"{uri}/"
        assert not spec.get("canary")
        assert "canaryTrafficPercent" not in spec["predictor"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: "-".join(map(str, s)))
def test_killed_after_any_write_and_run_again_it_ends_in_one_state(
    scenario: Scenario,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    total, point, unreleased = None, 0, []

    def released(uri: str) -> None:
        """The cluster never sees an address whose release is not whole."""
        if storage.read_json(f"{uri.rstrip('/')}/{promotions.RELEASE}") is None:
            unreleased.append(uri)

    while total is None or point <= total:
        with running(scenario[1], released) as cluster:
            monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "kubeconfig")))
            world = World(scenario, f"{store}/{point}", cluster)
            ended, made = in_child(world.work, kill_after=point or None)
            if total is None:
                assert ended == (REFUSED if world.what == "failing" else DONE)
                total = made
            else:
                assert ended == KILLED
            world.assert_sound()
            world.work_again()
            world.assert_sound()
            world.assert_ended()
        point += 1
    assert unreleased == []
    with capsys.disabled():
        sys.stdout.write(f"\n{'-'.join(map(str, scenario))}: killed at {total} points\n")

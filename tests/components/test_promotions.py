from concurrent.futures import ThreadPoolExecutor

import pytest

from components import promotions
from components.promotions import Promotion
from serving.errors import InputError


def promote(store: str, after: Promotion | None, version: str) -> Promotion:
    return promotions.append(
        store, "m", after, action="promote", version=version, run="r", reason="good"
    )


def rollback(store: str, after: Promotion | None, version: str) -> Promotion:
    return promotions.append(
        store, "m", after, action="rollback", version=version, run="", reason="bad"
    )


def test_a_model_without_promotions_has_no_champion(store: str) -> None:
    assert promotions.champion(store, "m") is None
    assert promotions.history(store, "m") == []


def test_the_highest_event_is_the_champion(store: str) -> None:
    first = promote(store, None, "a")
    second = promote(store, first, "b")
    assert promotions.champion(store, "m") == second
    assert [event.version for event in promotions.history(store, "m")] == ["a", "b"]


def test_of_two_promotions_against_the_same_champion_one_wins(store: str) -> None:
    first = promote(store, None, "a")
    promote(store, first, "b")
    with pytest.raises(InputError, match="another promotion of m became number 2"):
        promote(store, first, "c")


def test_racing_promotions_leave_a_gapless_log(store: str) -> None:
    def keep_trying(version: str) -> None:
        while True:
            try:
                promote(store, promotions.champion(store, "m"), version)
            except InputError:
                continue
            return

    versions = [f"v{number}" for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(keep_trying, versions))
    events = promotions.history(store, "m")
    assert [event.number for event in events] == list(range(1, 51))
    assert sorted(event.version for event in events) == sorted(versions)


def test_a_rollback_undoes_and_a_second_one_goes_further_back(store: str) -> None:
    event = None
    for version in "abc":
        event = promote(store, event, version)
    assert promotions.predecessor(promotions.history(store, "m")) == "b"
    event = rollback(store, event, "b")
    assert promotions.predecessor(promotions.history(store, "m")) == "a"
    event = promote(store, event, "d")
    assert promotions.predecessor(promotions.history(store, "m")) == "b"
    rollback(store, event, "a")
    assert promotions.predecessor(promotions.history(store, "m")) is None


@pytest.mark.parametrize("name", ["", "Hotel", "a/b", "-a", "x" * 64, "酒店"])
def test_a_name_that_cannot_name_an_endpoint_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="DNS label"):
        promotions.model_uri("s3://b", name)

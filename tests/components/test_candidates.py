"""The index of candidates."""

from components import candidates, storage
from components.candidates import Candidate


def candidate(run: str) -> Candidate:
    return Candidate(
        run=run, version="v", decision="accepted", reason="All passed.", at="", checks=0,
        failed=[], metrics={}, champion=None,
    )  # fmt: skip


def test_the_runs_judged_last_are_told_whatever_their_names_and_models(store: str) -> None:
    def judged(model: str, run: str) -> None:
        """Write until the server's clock, by which it lists, has gone on."""
        home = candidates.candidates_uri(store, model)
        before = [item["LastModified"] for _, item in storage.list_objects(f"{store}/models")]
        while True:
            storage.write_json(f"{home}/{run}.json", candidate(run).model_dump())
            [at] = [i["LastModified"] for k, i in storage.list_objects(home) if k == f"{run}.json"]
            if at > max(before, default=at.min.replace(tzinfo=at.tzinfo)):
                return

    for model, run in (("a", "alone-z"), ("b", "20261129"), ("a", "0f3c"), ("c", "b7d1")):
        judged(model, run)
    found = [(name, each.run) for name, each in candidates.judged_last(store, 3)]
    assert found == [("b", "20261129"), ("a", "0f3c"), ("c", "b7d1")]
    judged("a", "alone-z")  # judged again
    assert [each.run for _, each in candidates.judged_last(store, 2)] == ["b7d1", "alone-z"]
    assert len(candidates.judged_last(store, 9)) == 4
    assert candidates.judged_last(f"{store}/empty", 9) == []

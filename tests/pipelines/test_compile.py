from pathlib import Path

import yaml

from pipelines.compile import COMPILED, compile_pipeline
from pipelines.progress import STEPS


def test_the_committed_yaml_is_what_the_code_compiles_to(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "fresh.yaml")
    fresh = (tmp_path / "fresh.yaml").read_bytes()
    assert fresh == COMPILED.read_bytes(), "run `finegate compile` and commit compiled/"


def test_steps_that_depend_on_the_champion_are_never_reused_by_kfp() -> None:
    pipeline = yaml.safe_load(COMPILED.read_text())
    tasks = dict(pipeline["root"]["dag"]["tasks"])
    [nested] = [c["dag"]["tasks"] for c in pipeline["components"].values() if "dag" in c]
    tasks.update(nested)
    named = {name: task for name, task in tasks.items() if name.replace("-", "_") in STEPS}
    assert len(named) == len(STEPS)
    uncached = {n for n, task in named.items() if not task.get("cachingOptions", {})}
    assert uncached == {"evaluate-model", "gate-model", "report-run", "promote-model"}


def test_a_rejected_candidate_is_not_promoted_by_the_graph() -> None:
    pipeline = yaml.safe_load(COMPILED.read_text())
    [branch] = [t for t in pipeline["root"]["dag"]["tasks"].values() if "triggerPolicy" in t]
    assert "'rejected'" in branch["triggerPolicy"]["condition"]
    assert "!=" in branch["triggerPolicy"]["condition"]

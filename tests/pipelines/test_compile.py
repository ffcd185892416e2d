from pathlib import Path

import jsonschema
import pytest
import yaml

from pipelines.compile import COMPILED, compile_manifest, compile_pipeline, compiled
from pipelines.progress import STEPS
from tests.k8s.rendered import CRDS, crd_schema


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


def test_the_kubernetes_form_is_the_same_pipeline_named_by_its_hash(tmp_path: Path) -> None:
    compile_manifest(tmp_path / "manifest.yaml", "team-a")
    pipeline, version = yaml.safe_load_all((tmp_path / "manifest.yaml").read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert version["metadata"]["name"] == f"{pipeline['metadata']['name']}-{compiled()[1]}"
    assert {each["metadata"]["namespace"] for each in (pipeline, version)} == {"team-a"}
    assert version["spec"]["pipelineSpec"] == next(yaml.safe_load_all(COMPILED.read_text()))


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
def test_the_kubernetes_form_fits_the_crds(tmp_path: Path) -> None:
    compile_manifest(tmp_path / "manifest.yaml", "team-a")
    for document in yaml.safe_load_all((tmp_path / "manifest.yaml").read_text()):
        schema = crd_schema(document)
        assert schema is not None
        jsonschema.validate(document, schema)

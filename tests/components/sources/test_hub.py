from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from components import folders
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.sources.hub import commit_of
from components.sources.settings import HubDatasetSource, HubModelSource
from serving.errors import InputError
from tests.components.servers import COMMIT, Hub, with_hub
from tests.http_servers import listening


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    labels = Features({"text": Value("string"), "label": ClassLabel(names=["差评", "好评"])})
    path = tmp_path_factory.mktemp("hub") / "rows.parquet"
    files = {"README.md": b"---\n{}\n---\n"}
    for split, rows in (("train", [1, 0]), ("test", [0, -1])):
        table = {"text": [f"{split} {n}" for n in range(2)], "label": rows}
        Dataset.from_dict(table, features=labels).to_parquet(str(path))
        files[f"data/{split}-00000-of-00001.parquet"] = path.read_bytes()
    several = Features({"text": Value("string"), "label": List(ClassLabel(names=["joy", "awe"]))})
    table = {"text": ["a", "b", "c"], "label": [[0, 1], [], None]}
    Dataset.from_dict(table, features=several).to_parquet(str(path))
    feelings = {"README.md": files["README.md"], "data/train-00000.parquet": path.read_bytes()}
    rest = {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"a"}
    pickled = {**rest, "pytorch_model.bin": b"a"}
    models = {
        "org/old": pickled,
        "org/old@refs/pr/2": {**rest, "model.safetensors": b"a"},
        "org/old@refs/pr/9": pickled,
    }
    names = {"datasets": {"org/reviews": files, "org/feelings": feelings}, "models": models}
    with listening(type("Handler", (Hub,), names)) as url:
        yield url


def test_a_hub_dataset_comes_with_its_splits_label_names_and_commit(
    hub: str, store: str, tmp_path: Path
) -> None:
    source = {"id": "org/reviews", "splits": {"train": "train", "test": "test"}}
    uri = with_hub("download_dataset", {"hub": source}, hub, store, tmp_path)
    manifest = folders.fetch(uri, tmp_path)
    assert manifest["source"][0]["revision"] == COMMIT
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [(row["text"], row["label"], row["split"], row["row"]) for row in rows] == [
        ("train 0", "好评", "train", 1),
        ("train 1", "差评", "train", 2),
        ("test 0", "差评", "test", 1),
        ("test 1", None, "test", 2),  # the hub writes -1 for a label that is kept secret
    ]
    # The commit is known now, so a second run needs no hub at all.
    settings = DatasetSettings.model_validate({"hub": {**source, "revision": COMMIT}})
    assert download(store, settings) == uri


def test_each_of_several_labels_of_a_hub_dataset_has_its_name(
    hub: str, store: str, tmp_path: Path
) -> None:
    source = {"id": "org/feelings", "splits": {"train": "train"}}
    settings = {"hub": source, "problem_type": "multi_label_classification"}
    uri = with_hub("download_dataset", settings, hub, store, tmp_path)
    assert folders.existing(uri)["labels"] == ["awe", "joy"]
    rows = folders.read_table(uri, "rows.parquet")
    assert [each if each is None else sorted(each) for each in rows["label"]] == [
        ["awe", "joy"],
        [],
        None,
    ]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"id": "org/absent"}, "the hub has no dataset 'org/absent' at revision 'main'"),
        ({"id": "org/absent", "revision": COMMIT}, "the hub has no dataset 'org/absent'"),
        ({"id": "org/reviews", "config": "nope"}, "BuilderConfig 'nope' not found"),
        ({"id": "org/reviews", "splits": {"train": "nope"}}, 'Unknown split "nope"'),
        ({"id": "a/b/c"}, "does not fit its settings"),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    hub: str, store: str, tmp_path: Path, source: dict[str, object], says: str
) -> None:
    said = with_hub("download_dataset", {"hub": source}, hub, store, tmp_path)
    assert said.startswith("error: download_dataset: ")
    assert says in said


def test_a_hub_out_of_reach_is_told_as_such(store: str, tmp_path: Path) -> None:
    source = {"id": "org/reviews"}
    said = with_hub("download_dataset", {"hub": source}, "http://127.0.0.1:1", store, tmp_path)
    assert "'org/reviews' cannot be fetched from the hub" in said


def test_a_model_of_pickles_is_refused_with_the_revision_that_has_safetensors(
    hub: str, store: str, tmp_path: Path
) -> None:
    said = with_hub("download_model", {"hub": {"id": "org/old"}}, hub, store, tmp_path)
    assert "Its revision refs/pr/2 has them: set base_model.hub.revision" in said


def test_a_commit_names_itself() -> None:
    assert commit_of("dataset", HubDatasetSource(id="org/absent", revision=COMMIT)) == COMMIT
    assert commit_of("model", HubModelSource(id="org/absent", revision=COMMIT)) == COMMIT


def test_an_id_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"Check hub\.id"):
        commit_of("model", HubModelSource(id="no such/id here"))

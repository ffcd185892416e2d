import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from components import folders, storage
from components.tokenize_dataset import shards, workers
from components.tokenize_dataset.settings import TokenizationSettings
from components.tokenize_dataset.tokens import tokenize
from tests.components.interrupted import run
from tests.conftest import WORDS, hotel_rows

SHARDS = 6
TOKENIZE = """
from components.tokenize_dataset import shards
from components.tokenize_dataset.settings import TokenizationSettings
from components.tokenize_dataset.tokens import tokenize
shards.SHARD_ROWS = 40
tokenize(*sys.argv[1:4], TokenizationSettings(max_length=12), processes=1)
"""


def publish(store: str, tmp_path: Path, tiny_model: Path) -> tuple[str, str]:
    """A dataset of five training shards of 40 rows and one of validation, and a base model."""
    folder = tmp_path / "validated"
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame(hotel_rows(240), columns=["text", "label"])
    frame.insert(0, "file", "d.csv")
    frame.insert(0, "row", range(2, 242))
    frame[:200].to_parquet(folder / "train.parquet", row_group_size=20)
    frame[200:].to_parquet(folder / "validation.parquet")
    facts = {"fingerprint": "v", "labels": list(WORDS)}
    folders.publish(folder, f"{store}/validated/v", facts)
    folders.publish(tiny_model, f"{store}/base-models/tiny", {"fingerprint": "tiny"})
    return f"{store}/validated/v", f"{store}/base-models/tiny"


def files(uri: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = folders.existing(uri)["files"]
    return found


@pytest.fixture(scope="module")
def undisturbed(
    s3: dict[str, str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """The files that a run which nothing disturbs makes."""
    store = "s3://finegate/undisturbed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_ROWS", 40)
        given = publish(store, tmp_path_factory.mktemp("undisturbed"), tiny_model)
        return files(tokenize(store, *given, TokenizationSettings(max_length=12), processes=1))


@pytest.mark.parametrize(
    "moment",
    [
        ("GetObject", 3),  # the texts
        ("PutObject", 1),  # a shard
        ("PutObject", 6),  # the counts of the third
        ("PutObject", 2 * SHARDS + 3),  # the manifest
    ],
)
def test_a_killed_tokenization_makes_only_what_is_missing_and_the_same_bytes(
    store: str,
    tmp_path: Path,
    tiny_model: Path,
    undisturbed: list[dict[str, Any]],
    moment: tuple[str, int],
) -> None:
    given = publish(store, tmp_path, tiny_model)
    home = tmp_path / "home"
    run(TOKENIZE, store, *given, home=home, kill_at=moment)
    left = storage.list_keys(f"{store}/tokenized")
    assert not [key for key in left if key.endswith("manifest.json")]
    complete = sum("/counts/" in key for key in left)
    again = run(TOKENIZE, store, *given, home=home)
    tokenizer = sum(file["path"].startswith("tokenizer/") for file in undisturbed)
    there = sum("/tokenizer/" in key for key in left)
    assert again["PutObject"] == 2 * (SHARDS - complete) + tokenizer - there + 1
    [manifest] = [
        key for key in storage.list_keys(f"{store}/tokenized") if key.endswith("manifest.json")
    ]
    uri = f"{store}/tokenized/{manifest.removesuffix('/manifest.json')}"
    assert files(uri) == undisturbed
    assert not list((home / f"finegate-{os.getuid()}").glob("*/target"))


def test_processes_make_the_same_bytes_and_readers_see_one_table_in_order(
    store: str,
    tmp_path: Path,
    tiny_model: Path,
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 40)
    monkeypatch.setattr(workers, "WORTH_PROCESSES", 0)
    given = publish(store, tmp_path, tiny_model)
    uri = tokenize(store, *given, TokenizationSettings(max_length=12), processes=2)
    assert files(uri) == undisturbed
    folders.fetch(uri, tmp_path / "back")
    assert len(list((tmp_path / "back" / "train.parquet").iterdir())) == SHARDS - 1
    tokens = pq.read_table(tmp_path / "back" / "train.parquet")
    expected = [list(WORDS).index(label) for _, label in hotel_rows(240)[:200]]
    assert tokens["labels"].to_pylist() == expected

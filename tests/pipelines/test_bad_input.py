"""What a mistake costs on the command line: one paragraph, a non-zero exit, nothing written."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import storage
from tests.conftest import hotel_rows

ROOT = Path(__file__).parent.parent.parent


def rows(*extra: str) -> str:
    return "\n".join(
        ["text,label,split", *(f"{t},{label}," for t, label in hotel_rows(90)), *extra]
    )


@pytest.fixture
def home(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder with data good and bad, and a model without its tokenizer."""
    (tmp_path / "good.csv").write_text(rows())
    (tmp_path / "empty.csv").write_text("text,label,split\n")
    one = [f"{text},praise," for text, _ in hotel_rows(90)]
    (tmp_path / "one-class.csv").write_text("\n".join(["text,label,split", *one]))
    given = [f"{text},{label},train" for text, label in hotel_rows(90)]
    unseen = ["text,label,split", *given, "quite new,enthusiasm,test"]
    (tmp_path / "unseen.csv").write_text("\n".join(unseen))
    model = shutil.copytree(tiny_model, tmp_path / "no-tokenizer")
    for name in ("tokenizer.json", "vocab.txt"):
        (Path(model) / name).unlink()
    return tmp_path


def finegate(home: Path, store: str, changes: dict[str, Any], *options: str, **env: str) -> Any:
    config: dict[str, Any] = {
        "name": "hotels",
        "store": store,
        "dataset": {"path": "good.csv", "split": "split"},
        "base_model": {
            "architecture": {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2}
        },
    }
    (home / "run.yaml").write_text(yaml.safe_dump({**config, **changes}))
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from pipelines.cli import main; main()",
            "run",
            "run.yaml",
            *options,
        ],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=180,
    )


CASES: list[tuple[str, dict[str, Any], dict[str, str], str]] = [
    ("unknown config key", {"trainning": {}}, {}, "unknown key trainning; did you mean training?"),
    ("missing text column", {"dataset": {"path": "good.csv", "text": "review"}}, {}, "no column"),
    ("single class", {"dataset": {"path": "one-class.csv"}}, {}, "fewer than two classes"),
    (
        "label unseen in training",
        {"dataset": {"path": "unseen.csv", "split": "split"}},
        {},
        "label(s) enthusiasm that training never saw",
    ),
    ("empty dataset", {"dataset": {"path": "empty.csv"}}, {}, "the dataset is empty"),
    ("wrong credentials", {}, {"AWS_SECRET_ACCESS_KEY": "wrong"}, "refused the credentials"),
    ("store down", {}, {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "no S3 server answers"),
    (
        "unknown model id",
        {"base_model": {"hub": {"id": "no/such-model"}}},
        {"HF_ENDPOINT": "http://127.0.0.1:1"},
        "the model 'no/such-model' cannot be fetched from the hub",
    ),
    ("model without tokenizer", {"base_model": {"path": "no-tokenizer"}}, {}, "has no tokenizer"),
    (
        "text longer than positions",
        {"base_model": {"architecture": {"model_type": "bert", "max_position_embeddings": 16}}},
        {},
        "has positions for 16",
    ),
]


@pytest.mark.parametrize(
    ("changes", "env", "says"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_mistake_is_one_paragraph_with_a_remedy(
    home: Path, store: str, changes: dict[str, Any], env: dict[str, str], says: str
) -> None:
    ended = finegate(home, store, changes, **env)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    [paragraph] = ended.stderr.strip().splitlines()
    assert paragraph.startswith("error: ")
    assert says in paragraph
    assert "Traceback" not in ended.stdout
    written = [key for key in storage.list_keys(store) if not key.startswith(".conditional")]
    finished = {key.rsplit("/", 1)[0] for key in written if key.endswith("manifest.json")}
    assert {key.rsplit("/", 1)[0] for key in written} == finished, "something is half-written"


def test_a_setting_that_kfp_local_would_rewrite_is_refused(home: Path, store: str) -> None:
    ended = finegate(home, store, {"dataset": {"path": "/opt/python3/good.csv"}})
    assert ended.returncode == 1
    assert "contains `python3`" in ended.stderr


def test_a_traceback_is_shown_when_asked_for(home: Path, store: str) -> None:
    changes = {"dataset": {"path": "empty.csv"}}
    ended = finegate(home, store, changes, "--traceback")
    assert "InputError" in ended.stdout
    assert "Traceback" in ended.stdout


def test_a_port_in_use_is_told_before_anything_is_trained(home: Path, store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = finegate(home, store, {}, "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 1
    assert "in use by another process" in ended.stderr
    assert "finetune_model" not in ended.stdout

"""What ends a training, and what is said and left then."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from components import folders
from components.finetune_model.batches import GlobalBatches, TokenRows
from components.finetune_model.finetuning import plan
from components.finetune_model.model import read_whole
from components.finetune_model.settings import TrainingSettings
from components.finetune_model.training import read_rows
from components.finetune_model.troubles import explained
from serving.errors import InputError
from tests.components.finetune_model.step_process import EVERY_STEP, Step
from tests.components.finetune_model.test_finetuning import publish
from tests.conftest import hotel_rows


def test_a_loss_of_nan_is_told_with_the_step_where_it_began_and_the_checkpoint_before_stays(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    """One token, in one row of the training split, overflows in the first LayerNorm."""
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = load_file(base / "model.safetensors")
    token = AutoTokenizer.from_pretrained(base).convert_tokens_to_ids("好")
    embedding = tensors["bert.embeddings.word_embeddings.weight"]
    embedding[token] = 3e38
    embedding[token, ::2] *= -1
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    rows = hotel_rows(320)
    rows[200] = (f"{rows[200][0]} 好", rows[200][1])
    given = {"epochs": 4, "learning_rate": 1e-4, "precision": "fp32", "zero_stage": 2}
    inputs = publish(store, base, tmp_path, pd.DataFrame(rows, columns=["text", "label"]))
    lengths = TokenRows(tmp_path / "tokenized" / "train.parquet").lengths
    steps, began = 8, 0
    seed = 0
    while not 5 <= began <= steps:  # a seed with which the row comes late in the first epoch
        seed += 1
        batches = GlobalBatches(lengths, 32, rows=32, seed=seed).epoch(0)
        began = 1 + next(index for index, batch in enumerate(batches) if 200 in batch)
    given |= {"seed": seed, "checkpoint_minutes": EVERY_STEP, "keep_checkpoints": 9}
    step = Step(store, inputs, given, tmp_path / "step.log")
    assert step.process.wait(120) == 1
    assert f"the training loss became NaN or infinite at step {began}." in step.output
    assert folders.manifest_of(step.job.result) is None
    complete = step.complete()
    assert complete
    assert all(int(name.split("-")[0]) < began for name in complete)


def test_an_empty_split_is_named(store: str, tiny_model: Path, tmp_path: Path) -> None:
    inputs = publish(store, tiny_model, tmp_path)
    [path] = (tmp_path / "tokenized" / "validation.parquet").glob("*.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(InputError, match=r"the validation split of .* has no rows"):
        read_rows(tmp_path, plan(store, *inputs, TrainingSettings()))


def test_a_head_that_was_not_gathered_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    best = Path(shutil.copytree(tiny_model, tmp_path / "best"))
    tensors = load_file(best / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, best / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lack classifier\.weight.*could not be gathered"):
        read_whole(best, tiny_model)


def test_out_of_memory_says_what_to_lower() -> None:
    settings = TrainingSettings(rows_per_device=16, zero_stage=3)
    with (
        pytest.raises(InputError, match="out of memory") as refusal,
        explained(settings),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)
    for part in ("rows_per_device from 16", "gradient_checkpointing", "offload", "max_length"):
        assert part in str(refusal.value)
    assert "zero_stage" not in str(refusal.value)


def test_a_full_disk_is_told_from_a_defect() -> None:
    with pytest.raises(InputError, match=r"disk .* is full"), explained(TrainingSettings()):
        torch.save(torch.zeros(1000), "/dev/full")
    with (
        pytest.raises(RuntimeError, match="shapes"),
        explained(TrainingSettings()),
    ):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up_in_training_ends_it_with_its_name(
    store: str, tiny_model: Path, tmp_path: Path, small_disk: Path
) -> None:
    inputs = publish(store, tiny_model, tmp_path)
    given = {"processes": 1, "checkpoint_minutes": EVERY_STEP, "precision": "fp32"}
    (small_disk / "ballast").write_bytes(bytes(600_000))
    step = Step(
        store, inputs, given, tmp_path / "step.log", TMPDIR=str(small_disk), HOME=str(tmp_path)
    )
    assert step.process.wait(120) == 1
    assert "disk under the training's work folder is full" in step.output
    assert list(small_disk.glob("tmp*")) == []
    assert folders.manifest_of(step.job.result) is None

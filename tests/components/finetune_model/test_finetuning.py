"""Real training: torchrun, DeepSpeed and two processes on a CPU."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from components import folders, storage
from components.finetune_model.deepspeed_config import deepspeed_config
from components.finetune_model.finetuning import finetune
from components.finetune_model.hardware import process_count, rows_and_accumulation
from components.finetune_model.result import write_release
from components.finetune_model.settings import TrainingSettings
from serving.encoding import Encoder
from serving.errors import InputError
from tests.conftest import WORDS, hotel_rows, write_tokens

LABELS = list(WORDS)


def publish(
    store: str, tiny_model: Path, tmp_path: Path, frame: pd.DataFrame | None = None
) -> tuple[str, str]:
    """Tokens of 256 and 64 rows, and the tiny model as base."""
    folder = tmp_path / "tokenized"
    folder.mkdir()
    if frame is None:
        frame = pd.DataFrame(hotel_rows(320), columns=["text", "label"])
    encoder = Encoder.from_folder(tiny_model)
    for name, part in (("train", frame[:256]), ("validation", frame[256:])):
        part.to_parquet(tmp_path / f"{name}.parquet")
        write_tokens(tmp_path / f"{name}.parquet", folder, encoder, LABELS)
    encoder.tokenizer.save_pretrained(folder / "tokenizer")
    facts = {"fingerprint": "t", "dataset": "d", "labels": LABELS, "max_length": 24}
    folders.publish(folder, f"{store}/tokenized/t", facts)
    folders.publish(tiny_model, f"{store}/base-models/b", {"fingerprint": "b"})
    return f"{store}/tokenized/t", f"{store}/base-models/b"


def settings(**given: Any) -> TrainingSettings:
    common = {"epochs": 4, "learning_rate": 3e-3, "precision": "fp32", "evaluations": 2}
    return TrainingSettings.model_validate({**common, **given})


def curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def test_a_training_that_was_done_is_not_done_again(
    store: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another number of processes it is the same training."""
    tokenized, base = publish(store, tiny_model, tmp_path)
    one = finetune(store, tokenized, base, settings(processes=1, zero_stage=2))
    before = storage.list_keys(store)
    folders.fetch(one, tmp_path / "one")
    points = curve(tmp_path / "one")
    assert points[0]["loss"] == pytest.approx(np.log(3), rel=0.5)
    assert all(point["tokens_per_second"] > 0 for point in points if "loss" in point)
    assert all(point["memory_gib"] > 0.1 for point in points if "loss" in point)
    watched = [key for key in before if key.startswith("curves/")]
    assert [key.split("/")[-1] for key in watched] == [
        "events.out.tfevents.finetune_model",
        "training.jsonl",
    ]
    capsys.readouterr()
    assert finetune(store, tokenized, base, settings(processes=2, zero_stage=2)) == one
    assert "cached" in capsys.readouterr().out
    assert storage.list_keys(store) == before


def test_a_model_trained_in_bf16_is_saved_and_loaded_in_fp32(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "best")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "best")
    write_release(tmp_path / "best", tiny_model, tmp_path / "output")
    loaded = pipeline("text-classification", model=str(tmp_path / "output")).model
    assert loaded.dtype == torch.float32
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.float()), name


def test_a_batch_that_the_processes_cannot_share_is_refused() -> None:
    with pytest.raises(InputError, match="2 processes cannot share"):
        process_count(settings(batch_size=33, processes=2))


@pytest.mark.parametrize(
    ("batch", "most", "world", "expected"),
    [(32, 32, 2, (16, 1)), (32, 8, 1, (8, 4)), (96, 32, 2, (24, 2)), (2, 32, 2, (1, 1))],
)
def test_the_global_batch_stays_the_same_on_any_number_of_devices(
    batch: int, most: int, world: int, expected: tuple[int, int]
) -> None:
    rows, accumulation = rows_and_accumulation(
        settings(batch_size=batch, rows_per_device=most), world
    )
    assert (rows, accumulation) == expected
    assert rows * accumulation * world == batch


def test_the_deepspeed_config_compiles_no_optimizer_and_gathers_zero_3() -> None:
    config = deepspeed_config(settings(zero_stage=3), bf16=True, on_gpu=True)
    assert "optimizer" not in config
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert config["bf16"] == {"enabled": True}


@pytest.mark.parametrize(
    "given", [{"epoch": 1}, {"epochs": 0}, {"learning_rate": "fast"}, {"zero_stage": 4}]
)
def test_unknown_or_impossible_hyperparameters_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TrainingSettings.model_validate(given)

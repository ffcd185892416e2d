"""Real training: torchrun, DeepSpeed and two processes on a CPU."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from components import folders, storage
from components.finetune_model.deepspeed_config import deepspeed_config
from components.finetune_model.finetuning import finetune
from components.finetune_model.hardware import process_count, rows_and_accumulation
from components.finetune_model.settings import TrainingSettings
from components.finetune_model.training import as_fp32
from serving.encoding import Encoder
from serving.errors import InputError
from tests.conftest import WORDS, hotel_rows, write_tokens

LABELS = list(WORDS)


def publish(store: str, tiny_model: Path, tmp_path: Path) -> tuple[str, str]:
    """Tokens of 256 and 64 rows, and the tiny model as base."""
    folder = tmp_path / "tokenized"
    folder.mkdir()
    frame = pd.DataFrame(hotel_rows(320), columns=["text", "label"])
    encoder = Encoder.from_folder(tiny_model)
    ids = {label: index for index, label in enumerate(LABELS)}
    for name, part in (("train", frame[:256]), ("validation", frame[256:])):
        part.to_parquet(tmp_path / f"{name}.parquet")
        write_tokens(tmp_path / f"{name}.parquet", folder, encoder, ids)
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


def test_two_deepspeed_processes_train_what_one_trains(
    store: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The regression test of the Trainer's loss scaling: see model.accepts_loss_kwargs."""
    tokenized, base = publish(store, tiny_model, tmp_path)
    two = finetune(store, tokenized, base, settings(processes=2, zero_stage=2))
    one = finetune(store, tokenized, base, settings(processes=1, zero_stage=0))
    folders.fetch(two, tmp_path / "two")
    folders.fetch(one, tmp_path / "one")
    ours, theirs = curve(tmp_path / "two"), curve(tmp_path / "one")
    for name in ("loss", "eval_loss"):
        pairs = [
            (a[name], b[name]) for a, b in zip(ours, theirs, strict=True) if name in a and name in b
        ]
        assert pairs, name
        assert np.allclose(*zip(*pairs, strict=True), rtol=2e-3), (name, pairs)
    weights, reference = (
        load_file(tmp_path / name / "model.safetensors") for name in ("two", "one")
    )
    for name, tensor in reference.items():
        if name.endswith("key.bias"):
            continue  # softmax ignores it: its gradient is rounding noise, which Adam scales up
        assert torch.allclose(weights[name], tensor, atol=2e-3), name

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "two")
    assert model.dtype == torch.float32
    assert [model.config.id2label[index] for index in range(3)] == LABELS
    assert AutoTokenizer.from_pretrained(tmp_path / "two").model_max_length == 24
    scores = [point["eval_accuracy"] for point in ours if "eval_accuracy" in point]
    assert scores[-1] > 0.6
    assert ours[0]["loss"] == pytest.approx(np.log(3), rel=0.5)

    before = storage.list_keys(store)
    capsys.readouterr()
    assert finetune(store, tokenized, base, settings(processes=2, zero_stage=2)) == two
    assert "cached" in capsys.readouterr().out
    assert storage.list_keys(store) == before


def test_a_model_trained_in_bf16_is_saved_and_loaded_in_fp32(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    as_fp32(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    loaded = pipeline("text-classification", model=str(tmp_path)).model
    assert loaded.dtype == torch.float32
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.float()), name


def test_a_loss_that_is_no_number_is_told_with_its_step(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    poisoned = Path(shutil.copytree(tiny_model, tmp_path / "poisoned"))
    tensors = load_file(poisoned / "model.safetensors")
    tensors["bert.pooler.dense.bias"][0] = float("nan")
    save_file(tensors, poisoned / "model.safetensors", {"format": "pt"})
    tokenized, base = publish(store, poisoned, tmp_path)
    with pytest.raises(InputError, match=r"training loss became nan at step 1\."):
        finetune(store, tokenized, base, settings())
    assert storage.list_keys(f"{store}/finetuned") == []


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
    config = deepspeed_config(settings(zero_stage=3), bf16=True)
    assert "optimizer" not in config
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert config["bf16"] == {"enabled": True}


@pytest.mark.parametrize(
    "given", [{"epoch": 1}, {"epochs": 0}, {"learning_rate": "fast"}, {"zero_stage": 4}]
)
def test_unknown_or_impossible_hyperparameters_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TrainingSettings.model_validate(given)

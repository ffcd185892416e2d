"""Real training: torchrun, DeepSpeed and two processes on a CPU."""

import json
import math
import mmap
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from components import folders, storage
from components.finetune_model import hardware
from components.finetune_model.checkpoints import Checkpoint
from components.finetune_model.deepspeed_config import deepspeed_config
from components.finetune_model.finetuning import finetune, launch
from components.finetune_model.hardware import process_count, rows_and_accumulation
from components.finetune_model.inputs import refuse_other_precision
from components.finetune_model.model import build, choose_head
from components.finetune_model.result import write_release
from components.finetune_model.settings import TrainingSettings
from components.finetune_model.troubles import explained
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


def charted(events: bytes) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each curve in a TensorBoard file: records of a length, checksums, event."""
    curves: dict[str, list[tuple[int, float]]] = {}
    while events:
        [length] = struct.unpack_from("<Q", events)
        event = Event.FromString(events[12 : 12 + length])
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append((event.step, value.simple_value))
        events = events[12 + length + 4 :]
    return curves


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
    curves = charted(storage.read_bytes(f"{store}/{watched[0]}") or b"")
    for name in ("loss", "learning_rate"):
        expected = [(point["step"], np.float32(point[name])) for point in points if name in point]
        assert curves[name] == expected
        assert expected
    capsys.readouterr()
    assert finetune(store, tokenized, base, settings(processes=2, zero_stage=2)) == one
    assert "cached" in capsys.readouterr().out
    assert storage.list_keys(store) == before


def test_a_process_that_got_sigkill_tells_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker kills itself when Python starts; torchrun and what reads its log are real."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '--parent' in sys.orig_argv:\n    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=r"SIGKILL.*lower training\.rows_per_device from 32"):
        launch(tmp_path, settings(processes=1))


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
    with pytest.raises(InputError, match="3 processes cannot share"):  # torchrun started by hand
        rows_and_accumulation(settings(batch_size=32), 3)


def test_a_batch_that_only_divides_into_needlessly_small_passes_is_refused() -> None:
    with pytest.raises(InputError, match=r"37 passes of 1\. .* batch_size to a multiple of 64"):
        process_count(settings(batch_size=74, rows_per_device=32, processes=2))


@pytest.mark.parametrize(("processes", "threads"), [(1, "3"), (2, "1"), (4, "1")])
def test_processes_share_the_cores_that_the_container_may_use(
    processes: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "available_cores", lambda: 3)
    assert hardware.environment(processes)["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize(
    ("batch", "most", "world", "expected"),
    [
        (32, 32, 2, (16, 1)),
        (32, 8, 1, (8, 4)),
        (96, 32, 2, (24, 2)),
        (2, 32, 2, (1, 1)),
        (74, 1, 2, (1, 37)),
    ],
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
    "given",
    [
        {"epoch": 1},
        {"epochs": 0},
        {"epochs": math.inf},
        {"checkpoint_minutes": math.inf},
        {"weight_decay": math.nan},
        {"learning_rate": "fast"},
        {"zero_stage": 4},
        {"lora": {}, "frozen_layers": 1},
    ],
)
def test_unknown_or_impossible_hyperparameters_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TrainingSettings.model_validate(given)


@pytest.mark.parametrize(
    "allocate",
    [lambda: np.empty(1 << 59), lambda: mmap.mmap(-1, 1 << 62), lambda: bytes(1 << 62)],
    ids=["numpy", "the kernel", "Python"],
)
def test_memory_that_ran_out_is_told_alike_whoever_asked_for_it(
    allocate: Callable[[], object],
) -> None:
    with pytest.raises(InputError, match=r"out of memory \(.+\)\. Lower"), explained(settings()):
        allocate()


def test_a_checkpoint_of_another_precision_is_refused() -> None:
    checkpoint = Checkpoint("s3://finegate/checkpoints/1", {"bf16": True})
    refuse_other_precision(checkpoint, bf16=True)
    with pytest.raises(InputError, match=r"was bf16 .* is fp32 on this machine"):
        refuse_other_precision(checkpoint, bf16=False)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (None, set()),
        ("linear", {"classifier"}),
        ("mlp", {"classifier", "bert.pooler.dense"}),
    ],
)
def test_a_head_that_fits_is_kept_or_started_anew_as_the_settings_say(
    head: str | None, expected: set[str], tiny_model: Path
) -> None:
    before = AutoModelForSequenceClassification.from_pretrained(tiny_model).state_dict()
    model = build(tiny_model, LABELS, AutoTokenizer.from_pretrained(tiny_model))
    choose_head(model, settings(head=head))
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name.removesuffix(".weight") for name in changed} == expected  # biases are 0


def test_the_model_reads_the_padding_that_the_tokenizer_writes(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "pad_token_id": 3}))
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert build(base, LABELS, tokenizer).config.pad_token_id == tokenizer.pad_token_id == 0

"""Every ZeRO stage, on two processes: the training of one process, in a folder that loads."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from components import folders
from tests.components.finetune_model.step_process import EVERY_STEP, Step, difference
from tests.components.finetune_model.test_finetuning import LABELS, publish
from tests.conftest import hotel_rows

GIVEN = {"epochs": 8, "learning_rate": 1e-3, "precision": "fp32", "evaluations": 2}
STEPS = 64
TOLERANCE = 1e-5
"""Of any weight after 64 steps of at most 1e-3 each: sums over processes round otherwise."""

SAME = {"loss", "eval_loss", "eval_accuracy", "grad_norm", "learning_rate"}


@pytest.fixture(scope="module")
def inputs(
    s3: dict[str, str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """256 training rows, and as many for validation as no number of processes shares evenly."""
    frame = pd.DataFrame(hotel_rows(256 + 61), columns=["text", "label"])
    return publish("s3://finegate/zero", tiny_model, tmp_path_factory.mktemp("inputs"), frame)


@pytest.fixture(scope="module")
def single(inputs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Step:
    """One process that holds everything; with ZeRO-0 in fp32 DeepSpeed tells no grad_norm."""
    log = tmp_path_factory.mktemp("single") / "single.log"
    step = Step("s3://finegate/single", inputs, {**GIVEN, "processes": 1, "zero_stage": 1}, log)
    step.wait()
    return step


def without_key_biases(weights: dict[str, Any]) -> dict[str, Any]:
    """A key's bias adds the same to all scores of a query, which softmax takes away again: its
    gradient is nothing but rounding, which Adam scales up to whole steps."""
    return {name: weight for name, weight in weights.items() if not name.endswith("key.bias")}


@pytest.mark.parametrize(
    ("zero_stage", "offload", "legs"),
    [
        (0, False, (2, 1)),
        (1, False, (2, 1)),
        (2, False, (1, 2)),
        (2, True, (2,)),
        (3, False, (2, 1, 2)),
        (3, True, (2,)),
    ],
)
def test_two_processes_train_what_one_does_and_each_goes_on_with_what_the_other_began(
    zero_stage: int,
    offload: bool,
    legs: tuple[int, ...],
    store: str,
    inputs: tuple[str, str],
    single: Step,
    tmp_path: Path,
) -> None:
    """Every leg but the first accumulates gradients; the last one is left alone."""
    log = tmp_path / "step.log"
    for number, processes in enumerate(legs):
        last = number == len(legs) - 1
        given = {
            **GIVEN,
            "zero_stage": zero_stage,
            "offload": offload,
            "processes": processes,
            "rows_per_device": 8 if number else 32,
            "checkpoint_minutes": 60 if last else EVERY_STEP,
        }
        step = Step(store, inputs, given, log)
        if last:
            step.wait()
        else:
            step.wait_for_checkpoint(15 * (number + 1))
            step.kill("group")
        if number:
            [began] = step.resumed_from()
            assert began >= 15 * number
    trained, expected = step.weights(), single.weights()
    assert difference(without_key_biases(trained), without_key_biases(expected)) < TOLERANCE
    assert difference(trained, expected) < STEPS * GIVEN["learning_rate"]
    names = SAME - {"grad_norm"} if zero_stage == 0 else SAME
    ours, theirs = step.curve(), single.curve()
    assert [point["step"] for point in ours] == [point["step"] for point in theirs]
    for name in names:
        values = [[point[name] for point in curve if name in point] for curve in (ours, theirs)]
        assert values[0] == pytest.approx(values[1], rel=1e-4), name
        assert len(values[0]) >= 2, name
    folder = tmp_path / "model"
    folders.fetch(step.job.result, folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert model.dtype == torch.float32
    assert [model.config.id2label[index] for index in range(3)] == LABELS
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 24
    [answer] = pipeline("text-classification", model=str(folder))(["the room was lovely"])
    assert answer["label"] in LABELS


def test_two_processes_in_bf16_train_about_what_one_does_in_fp32(
    store: str, inputs: tuple[str, str], single: Step, tmp_path: Path
) -> None:
    given = {**GIVEN, "processes": 2, "zero_stage": 2, "precision": "bf16"}
    step = Step(store, inputs, given, tmp_path / "step.log")
    step.wait()
    for name in ("loss", "eval_loss"):
        ours, theirs = ([p[name] for p in s.curve() if name in p] for s in (step, single))
        assert ours == pytest.approx(theirs, rel=0.1), name
    for name, weight in step.weights().items():
        assert weight.dtype == np.float32
        rounded = torch.from_numpy(weight).bfloat16().float().numpy()
        assert np.array_equal(weight, rounded), f"{name} was not trained in bf16"

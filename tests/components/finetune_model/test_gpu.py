"""The step on a GPU, with one process: each ZeRO stage trains, goes on after a kill, and loads."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from components import folders
from tests.components.finetune_model.step_process import EVERY_STEP, Step
from tests.components.finetune_model.test_finetuning import LABELS, publish
from tests.conftest import hotel_rows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

GIVEN = {"epochs": 60, "learning_rate": 1e-3, "evaluations": 2}
"""So many epochs that the kill comes before the end."""


@pytest.fixture(scope="module")
def inputs(
    s3: dict[str, str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    frame = pd.DataFrame(hotel_rows(256 + 64), columns=["text", "label"])
    return publish("s3://finegate/gpu", tiny_model, tmp_path_factory.mktemp("inputs"), frame)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("zero_stage", "offload"), [(0, False), (1, False), (2, False), (2, True), (3, False)]
)
def test_a_training_that_was_killed_goes_on_and_its_folder_loads(
    zero_stage: int,
    offload: bool,
    precision: str,
    store: str,
    inputs: tuple[str, str],
    tmp_path: Path,
) -> None:
    given = {**GIVEN, "precision": precision, "zero_stage": zero_stage, "offload": offload}
    killed = Step(
        store, inputs, {**given, "checkpoint_minutes": EVERY_STEP}, tmp_path / "killed.log"
    )
    killed.wait_for_checkpoint(15)
    killed.kill("group")
    step = Step(store, inputs, given, tmp_path / "step.log")
    step.wait()
    [began] = step.resumed_from()
    assert began >= 15
    losses = [point["loss"] for point in step.curve() if "loss" in point]
    assert losses[-1] < losses[0] / 2
    assert any("memory_gib" in point for point in step.curve())
    folder = tmp_path / "model"
    folders.fetch(step.job.result, folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert model.dtype == torch.float32
    texts, labels = zip(*hotel_rows(320)[256:], strict=True)
    answers = pipeline("text-classification", model=str(folder), device=-1)(list(texts))
    assert np.mean([a["label"] == label for a, label in zip(answers, labels, strict=True)]) > 0.9
    assert set(LABELS) == set(model.config.label2id)

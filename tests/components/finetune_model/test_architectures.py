"""Encoders and decoders, from scratch and tiny: each trains and reloads with plain transformers."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Qwen2Tokenizer,
)

from components import folders, processes, storage
from components.download_model.architecture import write_config
from components.finetune_model import result
from components.finetune_model.finetuning import plan
from components.finetune_model.job import Job
from components.finetune_model.model import ADAPTERS, read_whole
from components.finetune_model.settings import TrainingSettings
from components.finetune_model.training import train
from components.tokenize_dataset.settings import TokenizationSettings, VocabularySettings
from components.tokenize_dataset.tokens import encoder_for
from serving.classifier import Classifier
from serving.errors import InputError
from tests.components.finetune_model.step_process import EVERY_STEP
from tests.components.finetune_model.test_finetuning import publish
from tests.conftest import WORDS, hotel_rows, write_tokens

LABELS = list(WORDS)
ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
DECODER = {**ENCODER, "num_key_value_heads": 1}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": ENCODER,
    "roberta": ENCODER,
    "albert": {**ENCODER, "embedding_size": 16},
    "deberta-v2": {**ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": ENCODER,
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
        "max_position_embeddings": 64,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": DECODER,
    "qwen2": DECODER,
    "qwen3": {**DECODER, "head_dim": 16},
}
DECODERS = ("gpt2", "llama", "qwen2", "qwen3")


@pytest.fixture(scope="module", autouse=True)
def _one_process(s3: dict[str, str]) -> Iterator[None]:
    """What torchrun would set for a single process: these tests are about models alone.

    DeepSpeed remembers its first process group, so all tests here share one.
    """
    [port] = processes.free_ports(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small only wait for a second one
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RANK": 0,
            "LOCAL_RANK": 0,
            "WORLD_SIZE": 1,
            "LOCAL_WORLD_SIZE": 1,
            "GROUP_RANK": 0,
            "OMP_NUM_THREADS": 1,  # else accelerate sets two, which wait for each other
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }.items():
            patch.setenv(name, str(value))
        patch.setattr("torch.distributed.destroy_process_group", lambda: None)
        yield
    torch.distributed.destroy_process_group()
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _forget_the_last_training() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def trained(
    store: str,
    tmp_path: Path,
    model_type: str,
    problem: str = "single_label_classification",
    **given: Any,
) -> Path:
    """The result of training `model_type` from scratch on 256 rows."""
    base, tokens = tmp_path / "base", tmp_path / "tokens"
    tokens.mkdir()
    write_config({"model_type": model_type, **ARCHITECTURES[model_type]}, base)
    frame = pd.DataFrame(hotel_rows(320), columns=["text", "label"])
    for name, part in (("train", frame[:256]), ("validation", frame[256:])):
        part.to_parquet(tmp_path / f"{name}.parquet")
    if model_type == "qwen2":  # from_pretrained reads it with its own class alone
        own = Qwen2Tokenizer().train_new_from_iterator(frame["text"], 300, show_progress=False)
        own.save_pretrained(base)
    lengths = TokenizationSettings(max_length=24, vocabulary=VocabularySettings(size=200))
    encoder = encoder_for(base, tmp_path / "train.parquet", lengths)
    for name in ("train", "validation"):
        write_tokens(tmp_path / f"{name}.parquet", tokens, encoder, LABELS)
    encoder.tokenizer.save_pretrained(tokens / "tokenizer")
    names = LABELS if problem != "regression" else ["rating"]
    if problem != "single_label_classification":
        for name in ("train", "validation"):
            [shard] = (tokens / f"{name}.parquet").glob("*.parquet")
            table = pq.read_table(shard)
            labels = table["labels"].to_numpy()
            column = (
                pa.array(labels, pa.float32())
                if problem == "regression"
                else pa.array(list(np.eye(3, dtype=np.float32)[labels]), pa.list_(pa.float32()))
            )
            place = table.schema.get_field_index("labels")
            pq.write_table(table.set_column(place, "labels", column), shard)
    facts = {
        "fingerprint": "t",
        "dataset": "d",
        "labels": names,
        "problem_type": problem,
        "max_length": 24,
    }
    folders.publish(tokens, f"{store}/tokenized/t", facts)
    folders.publish(base, f"{store}/base-models/b", {"fingerprint": "b"})
    settings = {"epochs": 12, "learning_rate": 3e-3, "precision": "fp32", "evaluations": 2}
    job = plan(
        store,
        f"{store}/tokenized/t",
        f"{store}/base-models/b",
        TrainingSettings.model_validate({**settings, **given}),
    )
    work = tmp_path / "work"
    work.mkdir()
    job.write(work)
    train(work, job)
    folders.fetch(job.result, tmp_path / "result")
    return tmp_path / "result"


def last(folder: Path, name: str) -> float:
    points = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    return float(next(point[name] for point in reversed(points) if name in point))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_it_learns_and_reloads_with_plain_transformers(
    model_type: str, store: str, tmp_path: Path
) -> None:
    given = {"lora": {"rank": 8}} if model_type in DECODERS else {}
    folder = trained(store, tmp_path, model_type, **given)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.pad_token_id == 0
    assert last(folder, "loss") < 0.95  # three classes alike: log 3 is 1.1
    # Padding changes nothing: a decoder that does not know its pad token reads it as the end.
    classifier = Classifier.load(folder)
    texts = ["the room was lovely", "the staff was rude to us and the room was dirty and noisy"]
    together = classifier.classify(texts)
    alone = np.concatenate([classifier.classify([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_adapters_are_merged_into_the_weights(store: str, tmp_path: Path) -> None:
    folder = trained(store, tmp_path, "llama", lora={"rank": 4}, gradient_checkpointing=True)
    tensors = load_file(folder / "model.safetensors")
    assert not [name for name in tensors if "lora" in name]
    initial = load_file(tmp_path / "work" / "initial" / "model.safetensors")
    changed = {name for name in tensors if not torch.equal(tensors[name], initial[name])}
    assert "score.weight" in changed
    assert "model.layers.0.self_attn.q_proj.weight" in changed
    assert "model.embed_tokens.weight" not in changed
    best = tmp_path / "work" / "best"
    adapters = load_file(best / ADAPTERS)
    for part in ("score", "layers.0.self_attn.q_proj.lora_A"):
        present = {name: weight for name, weight in adapters.items() if part not in name}
        save_file(present, best / ADAPTERS)
        with pytest.raises(InputError, match=f"lack .*{part}.*could not be gathered"):
            read_whole(best, tmp_path / "work" / "initial")


@pytest.mark.parametrize(("model_type", "given"), [
    ("distilbert", {}),  # whose head has two layers
    ("llama", {"precision": "bf16", "zero_stage": 3}),
])  # fmt: skip
def test_adapters_of_any_head_and_number_format_are_trained(
    model_type: str, given: dict[str, Any], store: str, tmp_path: Path
) -> None:
    folder = trained(store, tmp_path, model_type, epochs=1, lora={"rank": 2}, **given)
    tensors = load_file(folder / "model.safetensors")
    initial = load_file(tmp_path / "work" / "initial" / "model.safetensors")
    changed = {name for name in tensors if not torch.equal(tensors[name], initial[name])}
    heads = {
        "distilbert": {"classifier.weight", "pre_classifier.weight"},
        "llama": {"score.weight"},
    }
    assert heads[model_type] <= changed


def test_gradient_checkpointing_is_refused_where_transformers_has_none(
    store: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="transformers has none for a albert"):
        trained(store, tmp_path, "albert", gradient_checkpointing=True)


def loss_of(folder: Path, rows: Path) -> float:
    """The mean loss of a model over tokenized rows, as plain transformers computes it."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    table = pq.read_table(rows, columns=["input_ids", "labels"]).to_pylist()
    with torch.no_grad():
        found = [
            model(input_ids=torch.tensor([ids]), labels=torch.tensor([label])).loss.item()
            for ids, label in map(dict.values, table)
        ]
    return float(np.mean(found))


def test_the_best_evaluation_is_published_by_a_training_that_was_resumed_too(
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of adapters under ZeRO-3, which are one parameter group."""
    monkeypatch.setattr(result, "clear", lambda prefix: None)
    given: dict[str, Any] = {"lora": {"rank": 4}, "zero_stage": 3, "class_weights": "balanced"}
    given |= {"label_smoothing": 0.1, "best_metric": "loss", "evaluations": 4, "epochs": 2}
    given |= {"learning_rate": 0.3, "warmup": 0.95, "checkpoint_minutes": EVERY_STEP}
    folder = trained(store, tmp_path, "llama", **given)
    points = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    scored = {point["step"]: point["eval_loss"] for point in points if "eval_loss" in point}
    best = min(scored, key=lambda step: scored[step])
    assert best < max(scored)
    job = Job.read(tmp_path / "work")
    summary = folders.existing(job.result)["summary"]
    assert summary["best_step"] == best
    assert isinstance(summary["best_step"], int)
    assert all(math.isfinite(value) for value in summary.values())
    [rows] = (tmp_path / "tokens" / "validation.parquet").glob("*.parquet")
    assert loss_of(folder, rows) == pytest.approx(scored[best], rel=1e-4)

    storage.delete(f"{job.result}/{key}" for key in storage.list_keys(job.result))
    AcceleratorState._reset_state(reset_partial_state=True)
    train(tmp_path / "work", job)
    [resumed] = re.findall(r"going on from step (\d+)", capsys.readouterr().out)
    assert int(resumed) > best
    assert folders.existing(job.result)["summary"]["best_step"] == best
    folders.fetch(job.result, tmp_path / "again")
    assert loss_of(tmp_path / "again", rows) == pytest.approx(scored[best], rel=1e-4)


def test_a_validation_loss_of_nan_is_told_with_its_step(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    """One token, in one row of the validation split, overflows in the first LayerNorm."""
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = load_file(base / "model.safetensors")
    token = AutoTokenizer.from_pretrained(base).convert_tokens_to_ids("好")
    tensors["bert.embeddings.word_embeddings.weight"][token] = 3e38
    tensors["bert.embeddings.word_embeddings.weight"][token, ::2] *= -1
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    rows = hotel_rows(320)
    rows[300] = (f"{rows[300][0]} 好", rows[300][1])
    inputs = publish(store, base, tmp_path, pd.DataFrame(rows, columns=["text", "label"]))
    job = plan(store, *inputs, TrainingSettings(epochs=2, precision="fp32", evaluations=2))
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(InputError, match="validation loss is NaN or infinite at step 8"):
        train(work, job)


def test_frozen_layers_stay_and_the_others_learn(store: str, tmp_path: Path) -> None:
    folder = trained(
        store,
        tmp_path,
        "bert",
        frozen_layers=1,
        head="mlp",
        class_weights="balanced",
        label_smoothing=0.1,
        epochs=2,
    )
    tensors = load_file(folder / "model.safetensors")
    initial = load_file(tmp_path / "work" / "initial" / "model.safetensors")
    changed = {name for name in tensors if not torch.equal(tensors[name], initial[name])}
    assert not [n for n in changed if n.startswith(("bert.embeddings", "bert.encoder.layer.0."))]
    assert "bert.encoder.layer.1.output.dense.weight" in changed
    assert "bert.pooler.dense.weight" in changed


@pytest.mark.parametrize(
    ("model_type", "given", "told"),
    [
        ("llama", {"head": "mlp"}, "one linear layer"),
        ("roberta", {"head": "linear"}, "always has a hidden layer"),
        ("bert", {"frozen_layers": 3}, "has 2 layers"),
    ],
)
def test_what_the_architecture_cannot_do_is_refused(
    model_type: str, given: dict[str, Any], told: str, store: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        trained(store, tmp_path, model_type, **given)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_several_labels_a_row_and_numbers_are_learnt(
    problem: str, store: str, tmp_path: Path
) -> None:
    folder = trained(store, tmp_path, "bert", problem)
    config = AutoConfig.from_pretrained(folder)
    assert config.problem_type == problem
    assert config.num_labels == (1 if problem == "regression" else 3)
    first = json.loads((folder / "training.jsonl").read_text().splitlines()[0])
    assert last(folder, "eval_loss") < 0.85 * first["loss"]
    if problem == "multi_label_classification":
        assert last(folder, "eval_macro_f1") > 0.5


@pytest.mark.parametrize(
    "given", [{"class_weights": "balanced"}, {"label_smoothing": 0.1}, {"best_metric": "accuracy"}]
)
def test_settings_of_classes_are_refused_for_a_regression(
    given: dict[str, Any], store: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="regression"):
        trained(store, tmp_path, "bert", "regression", **given)


def test_early_stopping_ends_before_the_epochs_do(store: str, tmp_path: Path) -> None:
    folder = trained(store, tmp_path, "bert", early_stopping=2, evaluations=12, learning_rate=1e-7)
    assert last(folder, "step") < 96


def test_early_stopping_leaves_no_checkpoint_from_which_training_would_go_on(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result, "clear", lambda prefix: None)
    given = {"early_stopping": 2, "evaluations": 12, "learning_rate": 1e-7}
    folder = trained(store, tmp_path, "bert", checkpoint_minutes=EVERY_STEP, **given)
    stopped = last(folder, "step")
    job = Job.read(tmp_path / "work")
    written = {int(key.split("-")[0]) for key in storage.list_keys(job.checkpoints)}
    assert written
    assert max(written) < stopped
    assert AutoConfig.from_pretrained(folder).num_labels == 3

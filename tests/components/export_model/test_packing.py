"""Models whose layers leave padding out, from scratch and tiny, against the models as they are."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from components.export_model.openvino_export import write_int8_ir, write_ir
from components.export_model.packing import PackedModel
from serving.backends.openvino import OpenVINOBackend, has_bf16, ir, pack
from serving.backends.openvino import openvino as ov
from serving.classifier import Classifier, Floats
from serving.errors import InputError
from serving.settings import BackendName
from tests.conftest import hotel_rows

ENCODER = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 132,
}
PACKED: dict[str, dict[str, Any]] = {
    "bert": ENCODER,
    "roberta": ENCODER,
    "electra": {**ENCODER, "embedding_size": 32},
    "albert": {**ENCODER, "embedding_size": 32},
    "distilbert": {
        "dim": 64,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 128,
        "max_position_embeddings": 132,
    },
}
AS_THEY_ARE: dict[str, dict[str, Any]] = {
    "deberta-v2": {**ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": ENCODER,
    "mpnet": ENCODER,
    "llama": {**ENCODER, "num_key_value_heads": 1},
}
SENTENCES = [text for text, _ in hotel_rows(300)]
TEXTS = [" ".join(SENTENCES[at : at + 1 + at % 12]) for at in range(200)]


def made(model_type: str, given: dict[str, Any], tiny_model: Path, folder: Path) -> Classifier:
    """A model of random weights with the tiny model's tokenizer, for up to 128 tokens."""
    encoder = Classifier.load(tiny_model).encoder
    tokenizer = encoder.tokenizer
    tokenizer.model_max_length = 128
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        id2label={0: "a", 1: "b"},
        label2id={"a": 0, "b": 1},
        **given,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4)  # attention that tells tokens apart
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    classifier = Classifier.load(folder)
    if model_type in ("distilbert", "mpnet", "llama"):
        classifier.encoder.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return classifier


def behind(
    reference: Classifier, folder: Path, name: BackendName = "openvino", threads: int = 0
) -> Classifier:
    backend = OpenVINOBackend(folder, name, threads)
    return Classifier(reference.encoder, backend, reference.config)


def logits(classifier: Classifier, texts: list[str]) -> Floats:
    return classifier.logits(classifier.encoder.encode(texts))


@pytest.mark.parametrize("model_type", [*PACKED, *AS_THEY_ARE])
def test_the_logits_are_those_of_the_model_packed_or_not(
    model_type: str, tiny_model: Path, tmp_path: Path
) -> None:
    given = (PACKED | AS_THEY_ARE)[model_type]
    reference = made(model_type, given, tiny_model, tmp_path)
    expected = logits(reference, TEXTS)
    write_ir(reference, tmp_path)
    exported = behind(reference, tmp_path)
    assert exported.backend.packs == (model_type in PACKED)
    assert expected.std(axis=0).min() > 1e-3
    assert np.allclose(logits(exported, TEXTS), expected, atol=1e-5)
    # The model that was exported is as it was.
    assert np.array_equal(logits(reference, TEXTS), expected)


def test_passes_leave_each_thread_on_the_cores_that_it_had(
    tiny_model: Path, tmp_path: Path
) -> None:
    """A reload counts them anew, and the event loop is to run on whichever is idle."""
    reference = made("bert", PACKED["bert"], tiny_model, tmp_path)
    write_ir(reference, tmp_path)
    cores = os.sched_getaffinity(0)
    backend = OpenVINOBackend(tmp_path)
    inputs = reference.pad(reference.encoder.encode(TEXTS))

    def left_after(lane: int | None) -> set[int]:
        backend.logits(inputs, lane)
        return os.sched_getaffinity(0)

    lanes = (None, *range(backend.lanes))
    with ThreadPoolExecutor(1) as pool:
        left = [*map(left_after, lanes), *pool.map(left_after, lanes)]
    assert left == [cores] * 2 * len(lanes)


def test_a_decoder_is_not_computed_in_bf16(tiny_model: Path, tmp_path: Path) -> None:
    """OpenVINO 2026.4 dies of SIGFPE while it compiles this one in bf16 on a CPU with AMX."""
    reference = made("llama", AS_THEY_ARE["llama"], tiny_model, tmp_path / "floats")
    write_ir(reference, tmp_path / "floats", exact=False)
    write_int8_ir(reference, TEXTS[:50], tmp_path / "floats", tmp_path / "reduced")
    with pytest.raises(InputError, match=r"bf16 is for encoders|does not compute in bf16"):
        behind(reference, tmp_path / "floats", "openvino-bf16")
    expected = logits(reference, TEXTS)
    reduced = logits(behind(reference, tmp_path / "reduced", "openvino-int8"), TEXTS)
    assert 1e-5 < np.abs(reduced - expected).max() < 0.1 * np.abs(expected).max()


def rows_are_two(model: PackedModel, hidden_states: torch.Tensor, **named: Any) -> Any:
    return as_written(model, hidden_states.view(2, hidden_states.shape[1], 64), **named)


def rows_have_16_tokens(model: PackedModel, hidden_states: torch.Tensor, **named: Any) -> Any:
    read = torch.arange(hidden_states.shape[1]) < 16
    return as_written(model, hidden_states * read[:, None], **named)


as_written = PackedModel.run_layers


@pytest.mark.parametrize("taken", [rows_are_two, rows_have_16_tokens])
def test_packed_layers_that_fit_the_traced_batch_alone_are_not_kept(
    taken: Callable[..., Any], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackedModel, "run_layers", taken)
    reference = made("bert", {**ENCODER, "num_hidden_layers": 1}, tiny_model, tmp_path)
    write_ir(reference, tmp_path)
    exported = behind(reference, tmp_path)
    assert not exported.backend.packs
    for texts in (TEXTS[:1], TEXTS[:12]):
        assert np.allclose(logits(exported, texts), logits(reference, texts), atol=1e-5)


@pytest.mark.parametrize("model_type", PACKED)
@pytest.mark.parametrize("exact", [True, False])
def test_only_what_first_tokens_take_is_computed_of_the_last_layer(
    model_type: str, exact: bool, tiny_model: Path, tmp_path: Path
) -> None:
    reference = made(model_type, PACKED[model_type], tiny_model, tmp_path)
    write_ir(reference, tmp_path, exact=exact)
    batch = pack(reference.encoder.pad(reference.encoder.encode(TEXTS[:12])))
    model = ov.Core().read_model(ir(tmp_path))
    shapes = {name: each.shape for name, each in batch.items()}
    model.reshape({each: shapes[(each.get_names() & set(shapes)).pop()] for each in model.inputs})
    products = [
        list(each.output(0).shape)
        for each in model.get_ordered_ops()
        if each.get_type_name() == "MatMul"
    ]
    albert = model_type == "albert"  # both of its layers are one module
    kept, whole_layers = len(batch["kept"]), 2 if albert else 1
    # Of a layer the feed-forward is 128 wide, and its other products 64: those for queries, keys,
    # values and what attention and the feed-forward give. ALBERT's encoder widens embeddings first.
    assert products.count([1, kept, 128]) == whole_layers
    assert products.count([1, 12, 128]) == 2 - whole_layers
    keys_and_values = 0 if exact or albert else 2  # of the layer that is for first tokens
    assert sum(each[-2:] == [kept, 64] for each in products) == (
        5 * whole_layers + albert + keys_and_values
    )


@pytest.mark.parametrize(
    "name",
    [
        "openvino",
        pytest.param(
            "openvino-bf16",
            marks=pytest.mark.skipif(not has_bf16(), reason="this CPU does not compute in bf16"),
        ),
        "openvino-int8",
    ],
)
def test_company_leaves_a_texts_probabilities_the_same_and_reduced_ones_to_the_bit(
    name: BackendName, tiny_model: Path, tmp_path: Path
) -> None:
    wide = {**ENCODER, "hidden_size": 384, "num_attention_heads": 12}
    reference = made("bert", wide, tiny_model, tmp_path / "floats")
    write_ir(reference, tmp_path / "floats", exact=name == "openvino")
    if name == "openvino-int8":
        write_int8_ir(reference, TEXTS[:50], tmp_path / "floats", tmp_path / "reduced")
    lengths = [len(row) for row in reference.encoder.encode(TEXTS)]
    assert min(lengths) < 16
    assert max(lengths) == 128
    chance = np.random.default_rng(0)
    folder = tmp_path / ("reduced" if name == "openvino-int8" else "floats")
    classifier = behind(reference, folder, name, threads=2)
    alone = np.concatenate([logits(classifier, [text]) for text in TEXTS])
    for _ in range(40):
        company = chance.choice(len(TEXTS), chance.integers(2, 17), replace=False)
        rows = classifier.encoder.encode([TEXTS[at] for at in company])
        together = classifier.backend.logits(classifier.encoder.pad(rows), lane=1)
        if name == "openvino":
            pair = map(classifier.probabilities, (together, alone[company]))
            assert np.allclose(*pair, rtol=0, atol=1e-6)
        else:
            assert np.array_equal(together, alone[company])

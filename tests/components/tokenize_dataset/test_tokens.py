from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoConfig, AutoTokenizer

from components import folders
from components.tokenize_dataset.settings import TokenizationSettings, VocabularySettings
from components.tokenize_dataset.tokens import tokenize
from components.tokenize_dataset.vocabulary import build, check_reload
from serving.encoding import Encoder
from serving.errors import InputError
from tests.conftest import hotel_rows

LABELS = ["blame", "neutral", "praise"]


@pytest.fixture
def dataset(store: str, tmp_path: Path) -> str:
    folder = tmp_path / "validated"
    folder.mkdir()
    frame = pd.DataFrame(hotel_rows(300), columns=["text", "label"])
    frame["text"] = frame["text"] + " 房间很干净，服务员热情"
    frame.iloc[:200].to_parquet(folder / "train.parquet")
    frame.iloc[200:250].to_parquet(folder / "validation.parquet")
    frame.iloc[250:].to_parquet(folder / "test.parquet")
    uri = f"{store}/validated/v"
    folders.publish(folder, uri, {"fingerprint": "v", "labels": LABELS})
    return uri


@pytest.fixture
def base_model(store: str, tiny_model: Path) -> str:
    uri = f"{store}/base-models/tiny"
    folders.publish(tiny_model, uri, {"fingerprint": "tiny"})
    return uri


def test_tokens_are_those_of_serving_and_labels_their_ids(
    store: str, dataset: str, base_model: str, tiny_model: Path, tmp_path: Path
) -> None:
    uri = tokenize(store, dataset, base_model, TokenizationSettings(max_length=12))
    manifest = folders.fetch(uri, tmp_path / "tokens")
    tokens = pd.read_parquet(tmp_path / "tokens" / "train.parquet")
    folders.fetch(dataset, tmp_path / "texts")
    texts = pd.read_parquet(tmp_path / "texts" / "train.parquet")
    expected = Encoder.from_folder(
        tiny_model, AutoConfig.for_model("bert", max_position_embeddings=12)
    ).encode(texts["text"].tolist())
    found = [list(ids) for ids in tokens["input_ids"]]
    assert found == [row.features["input_ids"] for row in expected]
    assert [LABELS[index] for index in tokens["labels"]] == texts["label"].tolist()
    assert manifest["splits"]["train"]["truncated"] == sum(row.truncated for row in expected)
    assert not (tmp_path / "tokens" / "test.parquet").exists()


def test_the_length_is_recorded_where_transformers_and_the_endpoint_read_it(
    store: str, dataset: str, base_model: str, tmp_path: Path
) -> None:
    uri = tokenize(store, dataset, base_model, TokenizationSettings(max_length=12))
    folders.fetch(uri, tmp_path / "tokens")
    folder = tmp_path / "tokens" / "tokenizer"
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 12
    assert Encoder.from_folder(folder).max_length == 12


NEW_VOCABULARY = TokenizationSettings(max_length=32, vocabulary=VocabularySettings(size=300))


def planned(store: str, folder: Path, kind: str) -> str:
    """A base model of which nothing is there but its type; returns its address."""
    folder.mkdir()
    (folder / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    uri = f"{store}/base-models/{kind}"
    folders.publish(folder, uri, {"fingerprint": kind})
    return uri


def test_a_model_without_a_tokenizer_gets_a_vocabulary_of_the_training_texts(
    store: str, dataset: str, tmp_path: Path
) -> None:
    plan = planned(store, tmp_path / "plan", "bert")
    uri = tokenize(store, dataset, plan, NEW_VOCABULARY)
    manifest = folders.fetch(uri, tmp_path / "tokens")
    encoder = Encoder.from_folder(tmp_path / "tokens" / "tokenizer")
    [row] = encoder.encode(["Wonderful 服务员热情"])
    assert encoder.tokenizer.unk_token_id not in row.features["input_ids"]
    assert len(encoder.tokenizer) <= 300
    assert manifest["splits"]["train"]["unknown"] == 0
    [pair] = encoder.encode(["the room"], ["clean"])
    assert set(pair.features["token_type_ids"]) == {0, 1}


@pytest.mark.parametrize("kind", ["albert", "bert", "distilbert", "gpt2", "llama", "qwen3"])
def test_a_vocabulary_of_our_own_is_read_again_as_it_is(kind: str) -> None:
    config, texts = AutoConfig.for_model(kind), ["a quiet room", "clean and quiet", "服务员热情"]
    check_reload(build(texts * 20, VocabularySettings(size=300), config), config, texts)


def test_a_model_type_whose_tokenizer_would_be_read_otherwise_is_refused(
    store: str, dataset: str, tmp_path: Path
) -> None:
    plan = planned(store, tmp_path / "plan", "qwen2")
    with pytest.raises(InputError, match="made for a qwen2 with another class"):
        tokenize(store, dataset, plan, NEW_VOCABULARY)


def test_more_tokens_than_the_model_has_positions_for_are_refused(
    store: str, dataset: str, base_model: str
) -> None:
    with pytest.raises(InputError, match="has positions for 64"):
        tokenize(store, dataset, base_model, TokenizationSettings(max_length=65))


def test_the_same_texts_are_tokenized_once(
    store: str, dataset: str, base_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TokenizationSettings(max_length=12)
    first = tokenize(store, dataset, base_model, settings)
    assert tokenize(store, dataset, base_model, settings) == first
    assert "cached" in capsys.readouterr().out
    assert tokenize(store, dataset, base_model, TokenizationSettings(max_length=13)) != first


@pytest.mark.parametrize(("foreign", "told"), [(0, None), (3, r"80 row\(s\) with unknown tokens")])
def test_texts_of_another_language_are_refused_though_no_text_is_mostly_unknown(
    store: str, base_model: str, tmp_path: Path, foreign: int, told: str | None
) -> None:
    words = "the room was clean and quiet"
    text = " ".join([words, *(f"zzz{place}" for place in range(foreign))])
    rows = pd.DataFrame(
        {"row": range(120), "file": "d.csv", "text": text, "label": ["a", "b"] * 60}
    )
    parts = {"train": rows[:80], "validation": rows[80:100], "test": rows[100:]}
    for split, part in parts.items():
        part.to_parquet(tmp_path / f"{split}.parquet")
    dataset = f"{store}/validated/foreign"
    folders.publish(tmp_path, dataset, {"fingerprint": "foreign", "labels": ["a", "b"]})
    if told is None:
        tokenize(store, dataset, base_model, TokenizationSettings(max_length=24))
        return
    with pytest.raises(InputError, match=told):
        tokenize(store, dataset, base_model, TokenizationSettings(max_length=24))


def test_a_vocabulary_smaller_than_the_alphabet_is_refused_with_the_remedy() -> None:
    texts = [chr(0x4E00 + place) * 3 for place in range(400)]
    with pytest.raises(InputError, match=r"vocabulary\.size is 100, .* have more characters"):
        build(texts, VocabularySettings(size=100), AutoConfig.for_model("bert"))

from pathlib import Path

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
)

from serving.classifier import Classifier
from serving.encoding import MAX_WINDOWS, Encoder
from serving.errors import InputError
from serving.families import usable_length

# Padding comes second, where RoBERTa has it.
SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]


def test_a_long_text_is_cut_to_the_length_that_the_tokenizer_records(tiny_model: Path) -> None:
    encoder = Encoder.from_folder(tiny_model)
    short, long = encoder.encode(["the room", "the room was clean " * 20])
    assert (len(short), short.truncated) == (4, False)
    assert (len(long), long.truncated) == (24, True)


def test_tokens_are_those_that_transformers_itself_makes(tiny_model: Path) -> None:
    texts, pairs = ["the room", "a park " * 30, ""], ["clean", "dirty " * 30, "us"]
    expected = AutoTokenizer.from_pretrained(tiny_model)(texts, pairs, truncation=True)
    rows = Encoder.from_folder(tiny_model).encode(texts, pairs)
    assert [row.features["input_ids"] for row in rows] == expected["input_ids"]
    assert [row.features["token_type_ids"] for row in rows] == expected["token_type_ids"]


@pytest.mark.parametrize("pairs", [None, ["clean", "dirty " * 30, "us"]])
@pytest.mark.parametrize("type_of_single", [0, 2])
def test_columns_hold_the_tokens_of_each_text(
    tiny_model: Path, pairs: list[str] | None, type_of_single: int
) -> None:
    encoder = Encoder.from_folder(tiny_model)
    # XLNet's template gives a single text's [CLS] the type 2.
    encoder.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"[CLS]:{type_of_single} $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, encoder.tokenizer.vocab[name]) for name in ("[CLS]", "[SEP]")],
    )
    texts = ["the room", "a park " * 30, ""]
    columns, starts, truncated = encoder.encode_columns(texts, pairs)
    rows = encoder.encode(texts, pairs)
    assert truncated == [row.truncated for row in rows] == [False, True, False]
    assert columns.keys() == {"input_ids", "token_type_ids"}
    for name, values in columns.items():
        assert [part.tolist() for part in np.split(values, starts[1:-1])] == [
            row.features[name] for row in rows
        ]


def test_windows_cover_the_whole_text_and_overlap_by_a_quarter(tiny_model: Path) -> None:
    encoder = Encoder.from_folder(tiny_model)
    words = ["the", "room", "was", "and", "staff", "to", "us", "on", "our", "stay"] * 6
    [windows, short] = encoder.windows([" ".join(words), "us"])
    ids = encoder.tokenizer.convert_tokens_to_ids(words)
    content = [window.features["input_ids"][1:-1] for window in windows]
    assert [len(part) for part in content] == [22, 22, 22, 60 - 3 * 17]
    assert content == [ids[start : start + 22] for start in (0, 17, 34, 51)]
    assert len(short) == 1
    assert not any(window.truncated for window in windows)


def test_a_text_of_too_many_windows_is_cut_and_says_so(tiny_model: Path) -> None:
    [windows] = Encoder.from_folder(tiny_model).windows(["the room " * 2_000])
    assert len(windows) == MAX_WINDOWS
    assert windows[0].truncated


def test_padding_equals_that_of_the_tokenizer(tiny_model: Path) -> None:
    for kind, side in (("bert", "right"), ("xlnet", "left")):
        encoder = Encoder.from_folder(tiny_model, AutoConfig.for_model(kind, pad_token_id=0))
        encoder.tokenizer.padding_side = side
        rows = encoder.encode(["the room", "the room was clean", "us"], ["a", "b", "the park"])
        expected = encoder.tokenizer.pad(
            [dict(row.features) for row in rows], padding="max_length", max_length=16
        )
        padded = encoder.pad(rows)
        assert {name: values.tolist() for name, values in padded.items()} == dict(expected)


def test_positions_bound_the_length_whatever_the_tokenizer_says(tiny_model: Path) -> None:
    config = AutoConfig.for_model("bert", max_position_embeddings=10)
    assert Encoder.from_folder(tiny_model, config).max_length == 10


def test_roberta_cannot_use_all_rows_of_its_position_table() -> None:
    config = AutoConfig.for_model("roberta", max_position_embeddings=514, pad_token_id=1)
    assert usable_length(config) == 512


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no tokenizer"):
        Encoder.from_folder(tmp_path)


def test_a_length_without_room_for_text_is_refused(tiny_model: Path) -> None:
    config = AutoConfig.for_model("bert", max_position_embeddings=3)
    with pytest.raises(InputError, match="set max_length above 3"):
        Encoder.from_folder(tiny_model, config)


def test_a_cased_tokenizer_stays_cased(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "Good", "good"]))
    BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False).save_pretrained(tmp_path)
    upper, lower = Encoder.from_folder(
        tmp_path, AutoConfig.for_model("bert", max_position_embeddings=16)
    ).encode(["Good", "good"])
    assert upper.features["input_ids"] != lower.features["input_ids"]


def test_long_texts_fit_a_roberta_model_with_its_reserved_positions(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "good"]))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = AutoConfig.for_model(
        "roberta",
        vocab_size=6,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=16,
        max_position_embeddings=18,
        type_vocab_size=2,
        pad_token_id=1,
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    classifier = Classifier.load(tmp_path)
    assert classifier.encoder.max_length == 16
    assert classifier.classify(["good " * 100]).shape == (1, 2)

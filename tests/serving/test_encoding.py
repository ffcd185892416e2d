from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from serving.encoding import Encoder, usable_length
from serving.errors import InputError


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


def test_positions_bound_the_length_whatever_the_tokenizer_says(tiny_model: Path) -> None:
    assert Encoder.from_folder(tiny_model, positions=10).max_length == 10


def test_roberta_cannot_use_all_rows_of_its_position_table() -> None:
    config = AutoConfig.for_model("roberta", max_position_embeddings=514, pad_token_id=1)
    assert usable_length(config) == 512


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no tokenizer"):
        Encoder.from_folder(tmp_path)


def test_a_length_without_room_for_text_is_refused(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="set max_length above 3"):
        Encoder.from_folder(tiny_model, positions=3)

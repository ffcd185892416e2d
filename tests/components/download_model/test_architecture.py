import json
from pathlib import Path
from typing import Any

import pytest

from components.download_model.architecture import write_config
from serving.errors import InputError

SMALL = {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4}


def test_numbers_keep_the_kind_that_the_config_gives_them(tmp_path: Path) -> None:
    given = {**SMALL, "hidden_size": 32.0, "initializer_range": 1.0, "hidden_dropout_prob": 0.0}
    write_config(given, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert isinstance(config["hidden_size"], int)
    assert isinstance(config["initializer_range"], float)
    assert config["hidden_dropout_prob"] == 0


@pytest.mark.parametrize("name", ["hidden_size", "dim"])
def test_a_setting_goes_by_the_models_name_or_the_common_one(tmp_path: Path, name: str) -> None:
    write_config({"model_type": "distilbert", name: 24}, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dim"] == 24


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model_type": "bertt"}, "has no model_type 'bertt'. Name one that it has, such as bert"),
        ({"hiden_size": 32}, "Did you mean hidden_size?"),
        ({"hidden_size": "wide"}, "expected int, got str"),
        ({"hidden_size": 33}, "not a multiple of the number of attention heads"),
        ({"num_attention_heads": 0}, "makes no bert text classifier"),
        ({"hidden_act": "gelu_neu"}, "makes no bert text classifier"),
    ],
)
def test_an_architecture_that_cannot_be_built_is_told_at_once(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as error:
        write_config({**SMALL, **changed}, tmp_path)
    assert says in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_reads_no_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="makes no vit text classifier"):
        write_config({"model_type": "vit"}, tmp_path)

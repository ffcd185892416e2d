import json
from pathlib import Path

import pytest

from components.download_model.contents import check, model_type, travels
from serving.errors import InputError


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("model.safetensors.index.json", True),
        ("sentencepiece.bpe.model", True),
        ("vocab.txt", True),
        ("pytorch_model.bin", False),
        ("modeling_mine.py", False),
        ("training_args.bin", False),
        ("release.json", False),
    ],
)
def test_only_weights_tokenizer_and_config_travel(name: str, does: bool) -> None:
    assert travels(name) is does


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('{"auto_map": {"AutoModel": "code.Model"}}', "names no model_type: it needs code"),
        ('{"model_type": "chatglm", "auto_map": {}}', "names chatglm: it needs code"),
        ("{", "is not JSON"),
        ("[]", "is no JSON object"),
    ],
)
def test_a_config_that_transformers_cannot_follow_is_refused(
    tmp_path: Path, config: str, says: str
) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=says):
        model_type(tmp_path)


def test_a_shard_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / "model-1.safetensors").write_bytes(b"x")
    (tmp_path / "vocab.txt").write_text("a")
    with pytest.raises(InputError, match=r"lacks model-2\.safetensors"):
        check(tmp_path)
    (tmp_path / "model-2.safetensors").write_bytes(b"x")
    check(tmp_path)


def test_where_safetensors_are_is_told_when_it_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="often refs/pr/1"):
        check(tmp_path)
    with pytest.raises(InputError, match="revision refs/pr/7 has them"):
        check(tmp_path, "refs/pr/7")

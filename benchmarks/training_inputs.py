"""What benchmarks.training trains on: the quickstart's rows and model, or random ones."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import folders

CLASSES = ["negative", "positive"]
SHAPES: dict[str, dict[str, Any]] = {
    "minilm": {
        "model_type": "bert",
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "bert-base": {"model_type": "bert"},
    "decoder-1b": {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
    },
}


def prepare(work: Path, address: str, given: argparse.Namespace) -> None:
    """Put token ids and a base model into `work` and on S3."""
    if given.shape:
        random_inputs(work, given)
    else:
        quickstart_inputs(work, address)
    for name, count in (("train", given.rows), ("validation", 64)):
        folder = work / "tokenized" / f"{name}.parquet"
        table = pq.read_table(folder).slice(0, count)
        shutil.rmtree(folder)
        folder.mkdir()
        pq.write_table(table, folder / "0.parquet")
    facts = {"fingerprint": "t", "dataset": "d", "labels": CLASSES, "max_length": 64}
    folders.publish(work / "tokenized", f"{address}/tokenized", facts)
    folders.publish(work / "base", f"{address}/base", {"fingerprint": "b"})


def quickstart_inputs(work: Path, address: str) -> None:
    """The quickstart's own steps, from download to token ids."""
    from components.download_dataset.dataset import download as download_dataset
    from components.download_model.model import download as download_model
    from components.tokenize_dataset.tokens import tokenize
    from components.validate_dataset.dataset import validate
    from pipelines.config import load

    config = load(Path(__file__).parent.parent / "configs" / "quickstart.yaml")
    model = download_model(address, config.base_model)
    texts = validate(address, download_dataset(address, config.dataset), config.validation)
    folders.fetch(tokenize(address, texts, model, config.tokenization), work / "tokenized")
    folders.fetch(model, work / "base")


def random_inputs(work: Path, given: argparse.Namespace) -> None:
    """Random tokens of one length, and a config of `given.shape` without weights."""
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, PreTrainedTokenizerFast

    shape = dict(SHAPES[given.shape])
    config = AutoConfig.for_model(shape.pop("model_type"), **shape)
    (work / "tokenized").mkdir(parents=True)
    config.save_pretrained(str(work / "base"))
    vocabulary = {f"w{index}": index for index in range(config.vocab_size - 1)} | {
        "[PAD]": config.vocab_size - 1
    }
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w0")), pad_token="[PAD]"
    )
    tokenizer.model_max_length = given.length
    tokenizer.save_pretrained(str(work / "tokenized" / "tokenizer"))
    chance = np.random.default_rng(0)
    for name, count in (("train", given.rows), ("validation", 64)):
        ids = chance.integers(0, config.vocab_size - 1, (count, given.length), dtype=np.int32)
        table = pa.table(
            {
                "input_ids": pa.array(list(ids), pa.list_(pa.int32())),
                "labels": pa.array(chance.integers(0, 2, count), pa.int64()),
            }
        )
        (work / "tokenized" / f"{name}.parquet").mkdir()
        pq.write_table(table, work / "tokenized" / f"{name}.parquet" / "0.parquet")

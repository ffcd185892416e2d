"""Real parts for the tests: an S3 server, a tiny classifier, a tiny dataset."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from components import storage
from pipelines import object_store

if TYPE_CHECKING:
    from serving.encoding import Encoder

WORDS = {
    "praise": ["wonderful", "lovely", "clean", "friendly", "superb", "quiet"],
    "blame": ["dirty", "awful", "noisy", "rude", "broken", "terrible"],
    "neutral": ["average", "ordinary", "usual", "plain", "medium", "fair"],
}
FILLER = [
    "the",
    "room",
    "was",
    "and",
    "breakfast",
    "staff",
    "seemed",
    "to",
    "us",
    "on",
    "our",
    "stay",
    "in",
    "this",
    "hotel",
    "near",
    "a",
    "park",
]


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The AWS variables of a SeaweedFS server that lives as long as the session."""
    state = Path(tempfile.mkdtemp(prefix="finegate-test-"))
    variables = object_store.start(state)
    before = dict(os.environ)
    os.environ.update(variables)
    storage.client.cache_clear()
    try:
        yield variables
    finally:
        os.environ.clear()
        os.environ.update(before)
        storage.client.cache_clear()
        object_store.stop(state)
        shutil.rmtree(state)


@pytest.fixture
def store(s3: dict[str, str]) -> str:
    """An empty place on the S3 server, as `s3://bucket/prefix`."""
    return f"s3://{object_store.BUCKET}/{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT classifier of three labels with random weights, 24 tokens long at most."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny-model")
    words = [*FILLER, *(word for group in WORDS.values() for word in group), *"好差房间很干净"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.model_max_length = 24
    labels = list(WORDS)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,  # so that runs on one and on two processes can be compared
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,  # wide, so that different texts get clearly different answers
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def hotel_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Made-up reviews (text, label) that a tiny model can learn; no two are the same."""
    chance = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = chance.choice(list(WORDS))
        words = chance.choices(FILLER, k=chance.randint(3, 12)) + chance.choices(WORDS[label], k=2)
        chance.shuffle(words)
        rows[" ".join(words)] = label
    return list(rows.items())


def write_tokens(source: Path, folder: Path, encoder: "Encoder", labels: Iterable[str]) -> None:
    """Tokenize the texts of one split, as tokenize_dataset does, to `folder`."""
    from components.tokenize_dataset import shards

    for shard in shards.plan(source, source.stem):
        (folder / shard.name).parent.mkdir(parents=True, exist_ok=True)
        shards.write(shard, folder / shard.name, encoder, shards.SINGLE, list(labels))

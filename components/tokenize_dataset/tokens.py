"""Validated texts in, token ids out, beside the tokenizer that made them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from components import folders
from components.console import Progress, say
from components.fingerprint import fingerprint
from components.tokenize_dataset.settings import TokenizationSettings
from serving.errors import InputError

if TYPE_CHECKING:
    from serving.encoding import Encoder

STEP = "tokenize_dataset"
BATCH_ROWS = 2_000
TOKENIZED_SPLITS = ("train", "validation")
"""The test split stays text: it is scored as the endpoint would, from the text on."""


def tokenize(store: str, dataset: str, base_model: str, settings: TokenizationSettings) -> str:
    """Write `tokenized/<fingerprint>/`: train and validation parquet, and `tokenizer/`.

    Columns: the model's inputs as lists of int32, and `labels` int64. Returns the S3 address.
    Raises InputError when the model cannot take `max_length` tokens.
    """
    source, model = folders.existing(dataset), folders.existing(base_model)
    identity = fingerprint(
        {
            "dataset": source["fingerprint"],
            "base_model": model["fingerprint"],
            "settings": settings.model_dump(),
        },
        code=["components.tokenize_dataset", "serving.encoding"],
        libraries=["tokenizers", "transformers"],
    )
    uri = f"{store}/tokenized/{identity}"
    if folders.manifest_of(uri) is not None:
        say(STEP, f"cached: {uri} (same texts, same tokenizer, same settings)")
        return uri
    with tempfile.TemporaryDirectory() as scratch:
        texts, target = Path(scratch) / "texts", Path(scratch) / "target"
        folders.fetch(dataset, texts, source)
        weightless = {
            **model,
            "files": [f for f in model["files"] if not f["path"].endswith(".safetensors")],
        }
        folders.fetch(base_model, Path(scratch) / "model", weightless)
        encoder = encoder_for(Path(scratch) / "model", texts / "train.parquet", settings)
        encoder.tokenizer.save_pretrained(str(target / "tokenizer"))
        label_ids = {label: index for index, label in enumerate(source["labels"])}
        counts = {
            split: write_tokens(texts / f"{split}.parquet", target, encoder, label_ids)
            for split in TOKENIZED_SPLITS
        }
        folders.publish(
            target,
            uri,
            {
                "kind": "tokenized-dataset",
                "fingerprint": identity,
                "dataset": source["fingerprint"],
                "base_model": model["fingerprint"],
                "labels": source["labels"],
                "max_length": encoder.max_length,
                "splits": counts,
            },
        )
    train = counts["train"]
    say(
        STEP,
        f"{train['rows']} training rows, {train['tokens'] / train['rows']:.0f} tokens a row, "
        f"{train['truncated'] / train['rows']:.1%} cut at {settings.max_length}, "
        f"{train['unknown'] / train['tokens']:.2%} unknown: {uri}",
    )
    return uri


def encoder_for(model: Path, train: Path, settings: TokenizationSettings) -> "Encoder":
    """The model folder's tokenizer, or a new one built from the training texts."""
    from transformers import AutoConfig, AutoTokenizer

    from components.tokenize_dataset.vocabulary import build
    from serving.encoding import TOKENIZER_FILES, Encoder, usable_length

    config = AutoConfig.from_pretrained(str(model), local_files_only=True)
    longest = usable_length(config)
    if longest is not None and settings.max_length > longest:
        raise InputError(
            f"tokenization.max_length is {settings.max_length}, but the base model "
            f"({config.model_type}) has positions for {longest}. Lower it to that at most."
        )
    if any((model / name).is_file() for name in TOKENIZER_FILES):
        tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    else:
        say(STEP, f"building a vocabulary of {settings.vocabulary.size} from the training texts")
        texts = (row for batch in _batches(train) for row in batch["text"])
        tokenizer = build(texts, settings.vocabulary, config)
    if tokenizer.pad_token is None:  # decoders come without one
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_max_length = settings.max_length
    return Encoder(tokenizer, settings.max_length)


def write_tokens(
    source: Path, target: Path, encoder: "Encoder", label_ids: dict[str, int]
) -> dict[str, int]:
    """Tokenize one split to `target/<name>.parquet`; returns rows, tokens, unknown, truncated."""
    total = pq.ParquetFile(source).metadata.num_rows
    progress = Progress(STEP, f"tokenizing {source.stem}", total)
    counts = {"rows": 0, "tokens": 0, "unknown": 0, "truncated": 0}
    unknown_id = encoder.tokenizer.unk_token_id
    writer: pq.ParquetWriter | None = None
    for batch in _batches(source):
        encoded = encoder.encode(batch["text"], batch.get("text_pair"))
        columns: dict[str, Any] = {
            name: pa.array([row.features[name] for row in encoded], pa.list_(pa.int32()))
            for name in encoded[0].features
            if name != "attention_mask"  # all ones before padding
        }
        columns["labels"] = pa.array([label_ids[label] for label in batch["label"]], pa.int64())
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(target / source.name, table.schema)
        writer.write_table(table)
        counts["rows"] += len(encoded)
        counts["tokens"] += sum(len(row) for row in encoded)
        counts["unknown"] += sum(row.features["input_ids"].count(unknown_id) for row in encoded)
        counts["truncated"] += sum(row.truncated for row in encoded)
        progress.advance(len(encoded))
    assert writer is not None  # validate_dataset lets no empty split through
    writer.close()
    return counts


def _batches(path: Path) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
        yield batch.to_pydict()

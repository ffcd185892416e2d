"""Validated texts in, token ids out, beside the tokenizer that made them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from components import folders, storage
from components.console import Progress, say
from components.findings import Ledger
from components.fingerprint import fingerprint
from components.problem_types import SINGLE
from components.tokenize_dataset.settings import TokenizationSettings
from components.tokenize_dataset.shards import Shard, plan
from components.uploads import upload
from components.workspace import workspace
from serving.cores import available_cores
from serving.errors import InputError

if TYPE_CHECKING:
    from serving.encoding import Encoder

STEP = "tokenize_dataset"
TOKENIZED_SPLITS = ("train", "validation")
"""The test split stays text: it is scored as the endpoint would, from the text on."""


def tokenize(
    store: str,
    dataset: str,
    base_model: str,
    settings: TokenizationSettings,
    processes: int | None = None,
) -> str:
    """Write `tokenized/<fingerprint>/`: train and validation as folders of Parquet shards, and
    `tokenizer/`; returns the S3 address.

    Columns: the model's inputs as lists of int32, and `labels` (see the README). Each shard is
    sent as soon as it is made, with its counts beside it, and not made again after a kill. Raises
    InputError when the model cannot take `max_length` tokens, or a finding's rule says so.
    """
    source, model = folders.existing(dataset), folders.existing(base_model)
    identity = fingerprint(
        {
            "dataset": source["fingerprint"],
            "base_model": model["fingerprint"],
            "settings": settings.model_dump(),
        },
        code=[
            "components.findings",
            "components.tokenize_dataset",
            "serving.encoding",
            "serving.families",
        ],
        libraries=["pyarrow", "tokenizers", "transformers"],
    )
    uri = f"{store}/tokenized/{identity}"
    if folders.cached(uri, STEP, "same texts, same tokenizer, same settings"):
        return uri
    with workspace(STEP, identity) as scratch:
        texts, target = scratch / "texts", scratch / "target"
        needed = {f"{split}.parquet" for split in TOKENIZED_SPLITS}
        folders.fetch(dataset, texts, source, lambda path: path in needed)
        folders.fetch(
            base_model, scratch / "model", model, lambda path: not path.endswith(".safetensors")
        )
        encoder = encoder_for(scratch / "model", texts / "train.parquet", settings)
        encoder.tokenizer.save_pretrained(str(target / "tokenizer"))
        shards = [
            shard for split in TOKENIZED_SPLITS for shard in plan(texts / f"{split}.parquet", split)
        ]
        made = _make(shards, uri, target, source, processes or available_cores())
        findings = _judge(shards, made, encoder.max_length, settings)
        facts = {
            "kind": "tokenized-dataset",
            "fingerprint": identity,
            "dataset": source["fingerprint"],
            "base_model": model["fingerprint"],
            "problem_type": source.get("problem_type", SINGLE),
            "labels": source["labels"],
            "max_length": encoder.max_length,
            "splits": {split: _summed(shards, made, split) for split in TOKENIZED_SPLITS},
            "findings": [finding.model_dump() for finding in findings.findings],
        }
        tokenizer = folders.publish_files(target / "tokenizer", uri, "tokenizer/")
        folders.seal(uri, facts, [*tokenizer, *(made[shard.name]["file"] for shard in shards)])
    train = facts["splits"]["train"]
    say(
        STEP,
        f"{train['rows']} training rows, {train['tokens'] / train['rows']:.0f} tokens a row, "
        f"{train['truncated'] / train['rows']:.1%} cut at {settings.max_length}, "
        f"{train['unknown'] / train['tokens']:.2%} unknown: {uri}",
    )
    return uri


def _make(
    shards: list[Shard], uri: str, target: Path, source: folders.Manifest, processes: int
) -> dict[str, dict[str, Any]]:
    """Tokenize and send the shards that are not there; returns each one's counts and file.

    `counts/<shard>.json` is written after its shard, so a shard that has one is complete.
    """
    from components.tokenize_dataset.workers import tokenized

    stored = set(storage.list_keys(f"{uri}/counts"))
    made: dict[str, dict[str, Any]] = {
        shard.name: storage.read_json(f"{uri}/counts/{shard.name}.json")
        for shard in shards
        if f"{shard.name}.json" in stored
    }
    if made:
        say(STEP, f"{len(made)} of {len(shards)} shards are there already")
    progress = Progress(STEP, "tokenizing, row", sum(shard.rows for shard in shards))
    progress.advance(sum(shard.rows for shard in shards if shard.name in made))
    missing = [shard for shard in shards if shard.name not in made]
    kind = source.get("problem_type", SINGLE)
    done = tokenized(missing, target / "tokenizer", target, kind, source["labels"], processes)
    for shard, counts in done:
        path = target / shard.name
        made[shard.name] = {**counts, "file": upload(path, uri, shard.name, {})}
        storage.write_json(f"{uri}/counts/{shard.name}.json", made[shard.name])
        path.unlink()
        progress.advance(shard.rows)
    return made


def _summed(shards: list[Shard], made: dict[str, dict[str, Any]], split: str) -> dict[str, Any]:
    """Counts of a split. `lengths` counts the rows by tens of tokens: 0-9, 10-19, ..."""
    parts = [made[shard.name] for shard in shards if shard.split == split]
    counts: dict[str, Any] = {
        name: sum(part[name] for part in parts)
        for name in ("rows", "tokens", "unknown", "rows_unknown", "truncated")
    }
    lengths = [sum(column) for column in zip(*(part["lengths"] for part in parts), strict=True)]
    counts["lengths"] = [sum(lengths[at : at + 10]) for at in range(0, len(lengths), 10)]
    return counts


def _judge(
    shards: list[Shard],
    made: dict[str, dict[str, Any]],
    max_length: int,
    settings: TokenizationSettings,
) -> Ledger:
    """Findings about the training texts; raises InputError where a rule is `fail`."""
    train = _summed(shards, made, "train")
    named = {
        name: [
            tuple(place)
            for s in shards
            if s.split == "train"
            for place in made[s.name]["named"][name]
        ]
        for name in ("truncated", "unknown")
    }
    ledger = Ledger("tokenization")
    cut = train["truncated"] / train["rows"]
    if cut > settings.thresholds.truncated:
        ledger.record(
            "truncated",
            f"more than {max_length} tokens ({cut:.1%} of the training texts are cut)",
            settings.truncated,
            named["truncated"],
            train["rows"],
            count=train["truncated"],
        )
    unknown = train["unknown"] / train["tokens"]
    if unknown > settings.thresholds.unknown:
        ledger.record(
            "unknown",
            f"unknown tokens ({unknown:.1%} of all tokens: the tokenizer does not know the "
            "language of the texts; choose another base model)",
            settings.unknown,
            named["unknown"],
            train["rows"],
            count=train["rows_unknown"],
        )
    for finding in ledger.findings:
        say(STEP, f"{finding.count} row(s) with {finding.sentence}: {finding.action}")
    ledger.settle()
    return ledger


def encoder_for(model: Path, train: Path, settings: TokenizationSettings) -> "Encoder":
    """The model folder's tokenizer, or a new one built from the training texts."""
    from transformers import AutoConfig, AutoTokenizer

    from components.tokenize_dataset.vocabulary import build, check_reload
    from serving.encoding import TOKENIZER_FILES, Encoder
    from serving.families import usable_length

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
        check_reload(tokenizer, config, next(_batches(train))["text"][:100])
    if tokenizer.pad_token is None:  # decoders come without one
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_max_length = settings.max_length
    return Encoder(tokenizer, settings.max_length)


def _batches(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1_000, columns=["text"]):
            yield batch.to_pydict()

"""The one way from text to model inputs: training, evaluation and the endpoint all encode here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from tokenizers import Encoding
from transformers import (
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils.generic import PaddingStrategy

from serving.backends.base import PAD_TO_MULTIPLE_OF, Inputs
from serving.errors import InputError
from serving.families import filling, usable_length

MAX_WINDOWS = 64
"""Windows of one text; what lies beyond is not read, and the answer says that it was cut."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text as the model wants it, without padding."""

    features: dict[str, list[int]]
    """Model inputs by name (`input_ids`, `token_type_ids`, ...), each of the same length."""
    truncated: bool
    """True when tokens were cut to fit the maximum length."""

    def __len__(self) -> int:
        return len(self.features["input_ids"])

    def cut(self, length: int) -> Encoded:
        """Its first tokens and its last, by which some heads find a text's end."""
        return replace(
            self,
            features={
                name: [*values[: min(length, len(values)) - 1], values[-1]]
                for name, values in self.features.items()
            },
        )


TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
)
UNBOUNDED = 1_000_000


class Encoder:
    """Tokenizes texts and text pairs, truncates them to `max_length` tokens, and pads batches."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        config: PretrainedConfig | None = None,
    ) -> None:
        """`config` is that of the model, for which rows are padded.

        Raises InputError when `max_length` leaves no room for text beside special tokens, and when
        the tokenizer is not a fast one.
        """
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise InputError(
                f"the tokenizer in {tokenizer.name_or_path} ({type(tokenizer).__name__}) is not a "
                "fast tokenizer; convert it and save tokenizer.json beside the model."
            )
        special = tokenizer.num_special_tokens_to_add(pair=True)
        if max_length <= special:
            raise InputError(
                f"max_length is {max_length}, but the tokenizer alone adds {special} special "
                f"tokens; set max_length above {special}."
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._filling, self._left = filling(tokenizer, config)

    @classmethod
    def from_folder(cls, folder: Path, config: PretrainedConfig | None = None) -> Encoder:
        """Load the tokenizer of a Hugging Face folder, for the model of `config`.

        The maximum length is `model_max_length` from the tokenizer's files, and never more than
        the model has positions for (see `usable_length`). Raises InputError when the folder has no
        fast tokenizer or neither number is known.
        """
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise InputError(
                f"{folder} has no tokenizer (looked for {', '.join(TOKENIZER_FILES)}). A text "
                "classifier needs the tokenizer it was trained with: save it into the same folder "
                "with tokenizer.save_pretrained()."
            )
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"the tokenizer in {folder} cannot be loaded ({error}). Save it again with "
                "tokenizer.save_pretrained()."
            ) from error
        # transformers records int(1e30) where it knows no length.
        positions = None if config is None else usable_length(config)
        length = min(int(tokenizer.model_max_length), positions or UNBOUNDED)
        if length >= UNBOUNDED:
            raise InputError(
                f"the tokenizer in {folder} records no model_max_length; set it in "
                "tokenizer_config.json to the length the model was trained with."
            )
        return cls(tokenizer, length, config)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Encoded]:
        """Encode `texts` (with `pairs` as second sentences, when given), without padding.

        Truncation takes tokens from the longer of the two texts first, as transformers'
        `truncation=True` does, so `pipeline("text-classification")` sees the same tokens.
        """
        if not texts:
            return []
        names = self.tokenizer.model_input_names
        encoded = []
        for row in self._rows(texts, pairs):
            features = {"input_ids": row.ids, "attention_mask": row.attention_mask}
            if "token_type_ids" in names:
                features["token_type_ids"] = row.type_ids
            encoded.append(Encoded(features, truncated=bool(row.overflowing)))
        return encoded

    def encode_columns(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray, list[bool]]:
        """The same tokens as `encode`, for large datasets, without a Python list for each text.

        Returns the model's inputs but for `attention_mask`, which is all ones before padding: for
        each input its numbers of all texts one after another, int32 [tokens]; where each text
        begins among them, int32 [len(texts) + 1]; and which texts were truncated.
        """
        rows = self._rows(texts, pairs)
        starts = np.zeros(len(rows) + 1, dtype=np.int32)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        ids = chain.from_iterable(row.ids for row in rows)
        columns = {"input_ids": np.fromiter(ids, np.int32, starts[-1])}
        if "token_type_ids" in self.tokenizer.model_input_names:
            # Reading them costs a third of tokenizing, and a template gives one type to all of a
            # text's own tokens: where those of one single text are 0, all are.
            if pairs is None and not any(self._rows(["a"], None)[0].type_ids):
                columns["token_type_ids"] = np.zeros(starts[-1], np.int32)
            else:
                types = chain.from_iterable(row.type_ids for row in rows)
                columns["token_type_ids"] = np.fromiter(types, np.int32, starts[-1])
        return columns, starts, [bool(row.overflowing) for row in rows]

    def _rows(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Encoding]:
        """Truncated and without padding. The tokenizer's own call does the same, slower."""
        self.tokenizer.set_truncation_and_padding(
            padding_strategy=PaddingStrategy.DO_NOT_PAD,
            truncation_strategy=TruncationStrategy.LONGEST_FIRST,
            max_length=self.max_length,
            stride=0,
            pad_to_multiple_of=None,
            padding_side=None,
        )
        inputs = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        # Fast: without offsets, which nobody reads.
        rows: list[Encoding] = self.tokenizer.backend_tokenizer.encode_batch_fast(inputs)
        return rows

    def windows(self, texts: Sequence[str]) -> list[list[Encoded]]:
        """Encode each text as windows of `max_length` tokens, a quarter of which overlap."""
        if not texts:
            return []
        batch = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.max_length,
            stride=(self.max_length - self.tokenizer.num_special_tokens_to_add()) // 4,
            return_overflowing_tokens=True,
            padding=False,
        )
        owners = batch.pop("overflow_to_sample_mapping")
        found: list[list[Encoded]] = [[] for _ in texts]
        for row, owner in enumerate(owners):
            features = {name: values[row] for name, values in batch.items()}
            found[owner].append(Encoded(features, truncated=False))
        return [
            windows
            if len(windows) <= MAX_WINDOWS
            else [replace(window, truncated=True) for window in windows[:MAX_WINDOWS]]
            for windows in found
        ]

    def padded(self, row: Encoded, multiple: int = PAD_TO_MULTIPLE_OF) -> int:
        """Tokens of a row after padding to a multiple, when it is alone.

        Backends that compute padding take rows of one such number together, so that the batch does
        not change a row's answer: the sums over tokens have the same order. 8 bits need that, since
        a difference of 1e-7 before a rounding is one of 1e-3 after it.
        """
        return min(self.max_length, -(-len(row) // multiple) * multiple)

    def pad(self, rows: Sequence[Encoded], multiple: int = PAD_TO_MULTIPLE_OF) -> Inputs:
        """Pad encoded texts to the longest of them, and that as `padded`: [len(rows), tokens]."""
        shape = len(rows), max(self.padded(row, multiple) for row in rows)
        inputs = {}
        for name in rows[0].features:
            values = np.full(shape, self._filling.get(name, 0), dtype=np.int64)
            for target, row in zip(values, rows, strict=True):
                place = slice(shape[1] - len(row), None) if self._left else slice(len(row))
                target[place] = row.features[name]
            inputs[name] = values
        return inputs

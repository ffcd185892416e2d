"""Classifiers of two shapes with random weights, and texts of 10 to 60 tokens for them."""

import json
import random
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertTokenizer

from components.export_model.openvino_export import write_int8_ir, write_ir
from serving.backends.openvino import has_bf16
from serving.classifier import Classifier
from serving.settings import SERVING

SHAPES = {
    "6x384": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "3x768": {"hidden_size": 768, "num_hidden_layers": 3, "intermediate_size": 3072},
}
"""MiniLM's shape, and that of hfl/rbt3. Speed does not depend on the weights' values."""
BACKENDS = ("pytorch", "openvino", "openvino-bf16", "openvino-int8")
"""The reference, fp32, and reduced precision; bf16 on a CPU that computes in it."""
_SYLLABLES = [a + b for a in "bcdfgklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "or")]


def write_models(shape: str, home: Path) -> dict[str, Path]:
    """Write one classifier of the shape to `home`; returns its folder for each backend."""
    folder = home / "pytorch"
    write_model(shape, folder)
    reference = Classifier.load(folder)
    folders = {"pytorch": folder}
    for name in BACKENDS[1:]:
        if name == "openvino-bf16" and not has_bf16():
            continue
        folders[name] = Path(shutil.copytree(folder, home / name))
        (folders[name] / SERVING).write_text(json.dumps({"backend": name}))
        if name == "openvino-int8":
            write_ir(reference, home / "floats", exact=False)
            write_int8_ir(reference, texts(200, seed=1), home / "floats", folders[name])
        else:
            write_ir(reference, folders[name], exact=name == "openvino")
    return folders


def write_model(shape: str, folder: Path) -> None:
    """Write a plain Hugging Face folder of a classifier of the shape."""
    folder.mkdir(parents=True)
    words = [a + b for a in _SYLLABLES for b in _SYLLABLES]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    vocabulary += [f"##{syllable}" for syllable in _SYLLABLES]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(vocabulary),
        num_attention_heads=12,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
        **SHAPES[shape],
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)


def texts(count: int, seed: int = 0) -> list[str]:
    """Made-up texts of 10 to 60 tokens: one word in five takes two tokens."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        tokens, words = chance.randint(10, 60) - 2, []
        while tokens > 0:
            parts = 3 if tokens > 1 and chance.random() < 0.2 else 2
            words.append("".join(chance.choices(_SYLLABLES, k=parts)))
            tokens -= parts - 1
        made.append(" ".join(words))
    return made

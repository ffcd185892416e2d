"""Models of many families answer what transformers' own pipeline answers, whatever pads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from serving.classifier import Classifier
from serving.errors import InputError
from serving.predictor import Loaded

WORDS = ["the", "room", "was", "clean", "awful", "noisy", "hotel", "our", "stay"]
TEXTS = ["clean", "the room was clean", "awful noisy hotel " * 6, "our stay " * 60, "unheard words"]
PAD, UNKNOWN, FIRST, LAST, OTHER = 0, 1, 2, 3, 4
LENGTH = 70
"""More than a pass of a warm-up takes of a text."""

SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 64, "max_position_embeddings": 128, "embedding_size": 32},
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
SEQ2SEQ = {
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 128},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32},
    **{"decoder_ffn_dim": 32, "decoder_start_token_id": LAST, "forced_eos_token_id": LAST},
}
LONG = {**SMALL, "max_position_embeddings": 60}
"""Positions end before the texts, and the tokenizer does not know."""
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bert-left": ("bert", SMALL, {"padding_side": "left"}),
    "gpt2-left": ("gpt2", GPT, {"padding_side": "left"}),
    "gpt2-no-pad": ("gpt2", {**GPT, "pad_token_id": OTHER}, {"pad_token": None}),
    "llama-no-pad": ("llama", {**SMALL, "pad_token_id": OTHER}, {"pad_token": None}),
    "xlnet": ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}, {}),
    "bart": ("bart", SEQ2SEQ, {}),
    "mbart": ("mbart", SEQ2SEQ, {}),
    "fnet": ("fnet", SMALL, {}),
    "convbert": ("convbert", SMALL, {}),
    "nystromformer": ("nystromformer", {**SMALL, "segment_means_seq_len": 64}, {}),
    "mobilebert": (
        "mobilebert",
        {**SMALL, "intra_bottleneck_size": 32, "true_hidden_size": 32},
        {},
    ),
    **{
        kind: (kind, LONG, {})
        for kind in ("roberta", "roberta-prelayernorm", "ibert", "luke", "esm")
    },
    "lilt": ("lilt", {**LONG, "hidden_size": 48}, {}),
    "xmod": ("xmod", {**LONG, "languages": ["en_XX"], "default_language": "en_XX"}, {}),
}


def made(family: str, folder: Path) -> None:
    """A model of the family with random weights, with a tokenizer of words."""
    kind, given, tokens = FAMILIES[family]
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    special = [*names.values(), "[OTHER]"]
    vocabulary = {word: place for place, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", FIRST), ("[SEP]", LAST)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LENGTH, **{**names, **tokens}
    ).save_pretrained(folder)
    ids = {"pad_token_id": PAD, "bos_token_id": FIRST, "eos_token_id": LAST}
    config = AutoConfig.for_model(
        kind, **{**ids, **given, "vocab_size": len(vocabulary), "num_labels": 3}
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.3)
    model.save_pretrained(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_as_the_pipeline_alone_and_in_company(family: str, tmp_path: Path) -> None:
    made(family, tmp_path)
    loaded = Loaded(tmp_path, 100, 5.0, 1)
    loaded.batcher.close()
    classifier = loaded.classifier
    theirs = pipeline("text-classification", str(tmp_path), top_k=None, device="cpu")
    most = {"truncation": True, "max_length": classifier.encoder.max_length}
    found = [theirs([text], **most)[0] for text in TEXTS]
    answers = [{each["label"]: each["score"] for each in scores} for scores in found]
    expected = np.array([[answer[label] for label in classifier.labels] for answer in answers])
    assert np.ptp(expected, axis=0).min() > 1e-3  # the texts are told apart
    alone = np.concatenate([classifier.classify([text]) for text in TEXTS])
    assert np.abs(alone - expected).max() < 2e-6
    assert np.abs(classifier.classify(TEXTS) - alone).max() < 1e-6


def test_a_model_that_reads_padding_is_refused_where_lengths_are_recorded(tmp_path: Path) -> None:
    made("fnet", tmp_path)
    classifier = Classifier.load(tmp_path)
    classifier.backend.records = True  # as pytorch-cuda
    with pytest.raises(InputError, match="a fnet answers by how far a text is padded"):
        Classifier(classifier.encoder, classifier.backend, classifier.config)

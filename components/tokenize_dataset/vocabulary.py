"""A tokenizer for a model trained from scratch: Unigram pieces of the training texts."""

import tempfile
from collections.abc import Iterator, Sequence

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from components.tokenize_dataset.settings import VocabularySettings
from serving.errors import InputError

PAD, UNKNOWN, FIRST, LAST = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


def build(
    texts: Iterator[str] | Sequence[str], settings: VocabularySettings, config: PretrainedConfig
) -> PreTrainedTokenizerFast:
    """Train a Unigram vocabulary (Kudo 2018, arXiv:1804.10959) of at most `settings.size` pieces.

    It needs no word boundaries, so it suits Chinese as well as spaced scripts. Texts are
    normalized by NFKC, so full-width forms equal half-width ones.
    """
    tokenizer = Tokenizer(models.Unigram())
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    if settings.lowercase:
        steps.append(normalizers.Lowercase())
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=settings.size,
        special_tokens=[PAD, UNKNOWN, FIRST, LAST],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except Exception as error:  # the library raises no other kind
        if "not large enough to contain all chars" not in str(error):
            raise
        raise InputError(
            f"tokenization.vocabulary.size is {settings.size}, and the training texts have more "
            "characters than that. Raise it: Chinese texts have some thousands."
        ) from error
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{FIRST} $A {LAST}",
        pair=f"{FIRST} $A {LAST} $B:1 {LAST}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (FIRST, LAST)],
    )
    inputs = ["input_ids", "attention_mask"]
    if getattr(config, "type_vocab_size", 0) > 1:
        inputs.insert(1, "token_type_ids")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=FIRST,
        sep_token=LAST,
        model_input_names=inputs,
    )


def check_reload(
    tokenizer: PreTrainedTokenizerFast, config: PretrainedConfig, texts: Sequence[str]
) -> None:
    """Raises InputError unless AutoTokenizer, given tokenizer and config, makes the same tokens.

    For some model types (qwen2) it takes the tokenizer class of the published models, whatever
    the tokenizer's own files say; the endpoint would read other tokens than the training did.
    """
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        reloaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if reloaded(list(texts))["input_ids"] != tokenizer(list(texts))["input_ids"]:
        raise InputError(
            f"transformers reads a vocabulary made for a {config.model_type} with another class "
            f"({type(reloaded).__name__}), whose tokens differ. Choose another model_type, such as "
            "llama or bert, or a base model that brings its tokenizer."
        )

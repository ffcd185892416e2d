"""What model families do with positions and padding, where they differ: told by `model_type`."""

from transformers import PretrainedConfig, PreTrainedTokenizerBase

# Positions that RoBERTa-like models reserve: position ids start at padding_idx + 1, so a
# table of 514 rows holds 512 tokens (transformers.create_position_ids_from_input_ids).
_OFFSET_POSITIONS = frozenset(
    {
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
        "camembert",
        "longformer",
        "mpnet",
        "data2vec-text",
        "ibert",
        "luke",
        "lilt",
        "esm",
    }
)

_PADDED_LEFT = frozenset({"xlnet"})  # whose head reads the last place, padding or not

READ_PADDING = frozenset({"convbert", "fnet", "mobilebert", "nystromformer", "yoso"})
"""Model types whose answer depends on padding, since they do not heed the mask everywhere."""


def usable_length(config: PretrainedConfig) -> int | None:
    """Number of tokens a model has positions for; None when the architecture sets no bound."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 0:  # XLNet says -1
        return None
    if config.model_type in _OFFSET_POSITIONS:
        return int(positions) - int(config.pad_token_id or 0) - 1
    return int(positions)


def filling(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig | None
) -> tuple[dict[str, int], bool]:
    """What rows are padded with, for each input where it is not 0, and whether on their left.

    The model's config decides, not the tokenizer's: heads of decoders find a text's last token by
    the config's pad_token_id, and models number positions from the left.
    """
    pad = getattr(config, "pad_token_id", None)
    if pad is None or pad < 0:
        pad = tokenizer.pad_token_id or 0
    left = getattr(config, "model_type", None) in _PADDED_LEFT
    return {"input_ids": pad, "token_type_ids": tokenizer.pad_token_type_id}, left

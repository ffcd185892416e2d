"""An encoder whose layers read the tokens of a batch one after the other, without padding.

Matrix products, normalizations and activations then cost what the texts' own tokens cost, whatever
lengths share a batch. Attention alone sees rows, padded to the longest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_NAME = "packed"


@contextmanager
def packed(model: Any) -> Iterator["PackedModel"]:
    """`model` with packed layers; it is itself again afterwards.

    Raises AttributeError where the layers are not one module, as those of decoders, and ValueError
    where attention is the model's own, as DeBERTa's. Layers may do more between tokens than
    attention, or be called otherwise: that it runs and answers the same is for the caller to check.
    """
    base = model.base_model
    layers = base.encoder if hasattr(base, "encoder") else base.transformer
    attention = model.config._attn_implementation
    instead = PackedModel(model, layers.forward)
    ALL_ATTENTION_FUNCTIONS[_NAME] = instead.attend
    layers.forward = instead.run_layers
    try:
        model.set_attn_implementation(_NAME)
        if model.config._attn_implementation != _NAME:
            raise ValueError(f"{type(model).__name__} has an attention of its own")
        yield instead
    finally:
        model.set_attn_implementation(attention)
        del layers.forward, ALL_ATTENTION_FUNCTIONS[_NAME]


class PackedModel(torch.nn.Module):
    """A classifier with two inputs more, `kept` and `places` (serving.backends.openvino.pack)."""

    def __init__(self, model: Any, layers: Any) -> None:
        super().__init__()
        self.model, self._layers = model, layers
        self._kept = self._places = self._bias = torch.empty(0)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        kept: torch.Tensor,
        places: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> Any:
        """Logits of shape [rows, outputs] for padded inputs of shape [rows, tokens]."""
        self._kept, self._places = kept, places
        padding = 1 - attention_mask[:, None, None].float()
        self._bias = padding * torch.finfo(torch.float32).min
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        return self.model(**inputs).logits

    def run_layers(self, hidden_states: torch.Tensor, *given: Any, **named: Any) -> Any:
        """The layers' forward: [rows, tokens, width] in and out, [1, kept, width] inside."""
        tokens = hidden_states.flatten(0, 1).index_select(0, self._kept)
        result = self._layers(tokens[None], *given, **named)
        result.last_hidden_state = embedding(self._places, result.last_hidden_state[0])
        return result

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: None,
        scaling: float | None = None,
        **named: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attention for transformers: [1, heads, kept, size] in, [1, kept, heads, size] out."""
        heads, size = query.shape[1], query.shape[3]

        def padded(packed: torch.Tensor) -> torch.Tensor:
            rows = embedding(self._places, packed.transpose(1, 2).reshape(-1, heads * size))
            return rows.view(*rows.shape[:2], heads, size).transpose(1, 2)

        mixed = scaled_dot_product_attention(
            padded(query), padded(key), padded(value), attn_mask=self._bias, scale=scaling
        )
        flat = mixed.transpose(1, 2).reshape(-1, heads * size)
        return flat.index_select(0, self._kept).view(1, -1, heads, size), None

"""An encoder whose layers read the tokens of a batch one after the other, without padding.

Matrix products, normalizations and activations then cost what the texts' own tokens cost, whatever
lengths share a batch. Attention alone sees rows, padded to the longest. Of the last layer only what
a text's first token takes is computed, where the classifier's head reads no other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import einsum, softmax
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

LastLayer = Literal["whole", "first", "folded"]
"""What is computed of the last layer: all; what first tokens take; that without keys and values."""

_NAME = "packed"
_KEY_AND_VALUE = (("key", "value"), ("k_lin", "v_lin"))
"""What an attention module of transformers calls the projections to its keys and values."""


@contextmanager
def packed(model: Any, last_layer: LastLayer) -> Iterator["PackedModel"]:
    """`model` with packed layers, the last one as `last_layer` says.

    It is itself again afterwards. Raises AttributeError where the layers are not one module, as
    those of decoders, or where the last one is to be for first tokens and is not of a known kind,
    and ValueError where attention is the model's own, as DeBERTa's. Layers may do more between
    tokens than attention, be called otherwise, or be followed by a head that reads more than first
    tokens: that it runs and answers the same is for the caller to check.
    """
    base = model.base_model
    layers = base.encoder if hasattr(base, "encoder") else base.transformer
    last = None if last_layer == "whole" else layers.layer[-1]
    attention = model.config._attn_implementation
    instead = PackedModel(model, layers.forward, last and last.forward, last_layer == "folded")
    ALL_ATTENTION_FUNCTIONS[_NAME] = instead.attend
    layers.forward = instead.run_layers
    if last is not None:
        last.forward = instead.run_last_layer
    try:
        model.set_attn_implementation(_NAME)
        if model.config._attn_implementation != _NAME:
            raise ValueError(f"{type(model).__name__} has an attention of its own")
        yield instead
    finally:
        model.set_attn_implementation(attention)
        del layers.forward, ALL_ATTENTION_FUNCTIONS[_NAME]
        if last is not None:
            del last.forward


class PackedModel(torch.nn.Module):
    """A classifier with two inputs more, `kept` and `places` (serving.backends.openvino.pack)."""

    def __init__(self, model: Any, layers: Any, last: Any, folded: bool) -> None:
        super().__init__()
        self.model, self._layers, self._last, self._folded = model, layers, last, folded
        self._kept = self._places = self._bias = torch.empty(0)
        self._read: torch.Tensor | None = None
        """In the last layer, if it is for first tokens alone, what it reads: [1, kept, width]."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        kept: torch.Tensor,
        places: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> Any:
        """Logits of shape [rows, outputs] for padded inputs of shape [rows, tokens]."""
        self._kept, self._places, self._read = kept, places, None
        padding = 1 - attention_mask[:, None, None].float()
        self._bias = padding * torch.finfo(torch.float32).min
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        return self.model(**inputs).logits

    def run_layers(self, hidden_states: torch.Tensor, *given: Any, **named: Any) -> Any:
        """The layers' forward: [rows, tokens, width] in and out, [1, kept, width] inside.

        Out come [rows, 1, width] when the last layer is for first tokens alone.
        """
        tokens = hidden_states.flatten(0, 1).index_select(0, self._kept)
        result = self._layers(tokens[None], *given, **named)
        left = result.last_hidden_state
        if self._last is None:
            result.last_hidden_state = embedding(self._places, left[0])
        else:
            result.last_hidden_state = left.transpose(0, 1)
        return result

    def run_last_layer(self, hidden_states: torch.Tensor, *given: Any, **named: Any) -> Any:
        """The last layer's forward: [1, kept, width] in, [1, rows, width] out."""
        self._read = hidden_states
        return self._last(hidden_states.index_select(1, self._places[:, 0]), *given, **named)

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
        """Attention for transformers: [1, heads, kept, size] in, [1, kept, heads, size] out.

        In the last layer, if it is for first tokens alone, `kept` is that of the rows, and keys and
        values are not those given.
        """
        heads, size = query.shape[1], query.shape[3]

        def padded(tokens: torch.Tensor) -> torch.Tensor:
            rows = embedding(self._places, tokens)
            return rows.view(*rows.shape[:2], heads, size).transpose(1, 2)

        def flat(states: torch.Tensor) -> torch.Tensor:
            return states.transpose(1, 2).reshape(-1, heads * size)

        def attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            bias = self._bias
            return scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scaling)

        if self._read is None:
            mixed = attended(padded(flat(query)), padded(flat(key)), padded(flat(value)))
            return flat(mixed).index_select(0, self._kept).view(1, -1, heads, size), None
        if self._folded:
            return self._attend_folded(module, query[0], self._read[0], scaling), None
        key, value = (padded(project(self._read[0])) for project in _projections(module))
        return attended(query.permute(2, 1, 0, 3), key, value).permute(2, 0, 1, 3), None

    def _attend_folded(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        read: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """Attention of first tokens, [heads, rows, size], to tokens [kept, width].

        Neither keys nor values are computed of all tokens, since q (W_k x) = (q W_k) x, and a mean
        over values W_v x + b is W_v of the mean over x, and b; the key's bias adds as much to each
        token's score, which changes nothing. In bf16 these products have other bits in other
        company. Returns [1, rows, heads, size].
        """
        heads, _, size = query.shape
        key, value = _projections(module)
        scaled = key.weight.view(heads, size, -1) * (size**-0.5 if scaling is None else scaling)
        asked = einsum("hrs,hsw->rhw", query, scaled)
        tokens = embedding(self._places, read)
        scores = asked @ tokens.transpose(1, 2) + self._bias[:, 0]
        mean = softmax(scores, dim=-1) @ tokens
        mixed: torch.Tensor = einsum("rhw,hsw->rhs", mean, value.weight.view(heads, size, -1))
        mixed += value.bias.view(heads, size)
        return mixed[None]


def _projections(module: torch.nn.Module) -> list[Any]:
    for names in _KEY_AND_VALUE:
        if all(hasattr(module, name) for name in names):
            return [getattr(module, name) for name in names]
    raise AttributeError(f"{type(module).__name__} has no keys and values by a known name")

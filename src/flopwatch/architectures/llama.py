"""Llama-style decoders with RMSNorm, rotary positions and a gated MLP: Llama, Mistral, Qwen 2 and 3, Phi-3."""

from __future__ import annotations

from flopwatch.architectures import blocks
from flopwatch.architectures.config import Fields
from flopwatch.components import Architecture, Component, Group, Norm

_MISTRAL_DEFAULT_WINDOW = 4096
_QWEN_DEFAULT_WINDOW = 4096
_QWEN_DEFAULT_MAX_WINDOW_LAYERS = 28
_QWEN3_DEFAULT_HEAD_DIM = 128


def _decoder(
    fields: Fields,
    *,
    head_dim: int,
    key_value_heads: int,
    windows: list[tuple[int | None, int]],
    qkv_bias: bool = False,
    output_bias: bool = False,
    head_norm: bool = False,
    mlp_bias: bool = False,
) -> Architecture:
    """A decoder from its attention; `windows` lists (window, number of layers), `None` for global attention."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    embedding, head = blocks.embedding_and_head(fields, hidden, tied_default=False)
    groups: list[Component] = []
    for window, times in windows:
        self_attn = blocks.attention(
            hidden,
            heads,
            key_value_heads,
            head_dim,
            qkv_bias=qkv_bias,
            output_bias=output_bias,
            head_norm=head_norm,
            window=window,
        )
        mlp = blocks.gated_mlp(hidden, fields.size("intermediate_size"), bias=mlp_bias)
        name = "layers" if len(windows) == 1 else "global_layers" if window is None else "local_layers"
        groups.append(Group(name, (self_attn, mlp, blocks.norms(2, hidden)), times=times))
    return Architecture(fields.model_type, (embedding, *groups, Norm("final_norm", hidden), head))


def _standard_heads(fields: Fields) -> tuple[int, int]:
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    return blocks.head_dim(fields, hidden, heads), blocks.key_value_heads(fields, heads)


def llama(fields: Fields) -> Architecture:
    """Llama 1 to 3 (Touvron et al., arXiv 2302.13971; arXiv 2407.21783)."""
    head_dim, groups = _standard_heads(fields)
    bias = fields.flag("attention_bias", False)
    return _decoder(
        fields,
        head_dim=head_dim,
        key_value_heads=groups,
        windows=[(None, fields.size("num_hidden_layers"))],
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=fields.flag("mlp_bias", False),
    )


def mistral(fields: Fields) -> Architecture:
    """Mistral (Jiang et al., arXiv 2310.06825): one sliding window for all layers, or none.

    An absent `sliding_window` means 4096, as in Hugging Face; null means none.
    """
    head_dim, groups = _standard_heads(fields)
    window = fields.optional_size("sliding_window", _MISTRAL_DEFAULT_WINDOW)
    return _decoder(
        fields, head_dim=head_dim, key_value_heads=groups, windows=[(window, fields.size("num_hidden_layers"))]
    )


def phi3(fields: Fields) -> Architecture:
    """Phi-3 (Abdin et al., arXiv 2404.14219): q, k, v in one matrix, gate and up in one, which changes no count."""
    head_dim, groups = _standard_heads(fields)
    window = fields.optional_size("sliding_window")
    return _decoder(
        fields, head_dim=head_dim, key_value_heads=groups, windows=[(window, fields.size("num_hidden_layers"))]
    )


def _qwen_windows(fields: Fields) -> list[tuple[int | None, int]]:
    layers = fields.size("num_hidden_layers")
    window = None
    if fields.flag("use_sliding_window", False):
        window = fields.optional_size("sliding_window", _QWEN_DEFAULT_WINDOW)
    first_local = fields.values.get("max_window_layers", _QWEN_DEFAULT_MAX_WINDOW_LAYERS)
    if isinstance(first_local, bool) or not isinstance(first_local, int) or first_local < 0:
        raise fields.unusable("max_window_layers", "a whole number")
    default = [
        "sliding_attention" if window is not None and layer >= first_local else "full_attention"
        for layer in range(layers)
    ]
    kinds = blocks.layers_by_type(fields, layers, default)
    spans = [(None, kinds["full_attention"]), (window, kinds["sliding_attention"])]
    return [(reach, times) for reach, times in spans if times]


def qwen2(fields: Fields) -> Architecture:
    """Qwen 2 and 2.5 (arXiv 2407.10671): biases on q, k and v."""
    head_dim, groups = _standard_heads(fields)
    return _decoder(fields, head_dim=head_dim, key_value_heads=groups, windows=_qwen_windows(fields), qkv_bias=True)


def qwen3(fields: Fields) -> Architecture:
    """Qwen 3 dense (arXiv 2505.09388): a norm on every query and key head, head_dim of its own (128 if absent)."""
    heads = fields.size("num_attention_heads")
    bias = fields.flag("attention_bias", False)
    return _decoder(
        fields,
        head_dim=fields.size("head_dim", _QWEN3_DEFAULT_HEAD_DIM),
        key_value_heads=blocks.key_value_heads(fields, heads),
        windows=_qwen_windows(fields),
        qkv_bias=bias,
        output_bias=bias,
        head_norm=True,
    )

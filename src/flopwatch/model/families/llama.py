"""Llama-style decoders: RMSNorm, rotary positions, a gated MLP; what differs is where the norms and windows sit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.components import Leaf, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.blocks import FULL, SLIDING
from flopwatch.model.families.config import Fields

_DEFAULT_WINDOW = 4096
_QWEN_DEFAULT_MAX_WINDOW_LAYERS = 28
_QWEN3_DEFAULT_HEAD_DIM = 128


@dataclass(frozen=True)
class Decoder:
    """How a Llama-like decoder differs from Llama.

    `kinds` is the kind of every layer, full attention by default, and `window` that of the sliding ones. Norms before
    attention, after it, before the MLP and after it are named where they exist. In a `parallel` layer the MLP reads
    what attention reads, after one norm.
    """

    head_dim: int
    key_value_heads: int
    kinds: Sequence[str] | None = None
    window: int | None = None
    qkv_bias: bool = False
    output_bias: bool = False
    head_norms: tuple[Leaf, ...] = ()
    fused_qkv: str | None = None
    fused_mlp: str | None = None
    mlp_bias: bool = False
    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str | None = "post_attention_layernorm"
    after_mlp: str | None = None
    norm_bias: bool = False
    norm_affine: bool = True
    tied_default: bool = False
    dropout: bool = False
    parallel: bool = False


def decoder(fields: Fields, form: Decoder) -> Architecture:
    """Build a decoder of the given form."""
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    kinds = form.kinds or [FULL] * layers
    stack = blocks.stack_of("model.layers", kinds, lambda kind: _layer(fields, form, kind))
    return blocks.language_model(
        fields,
        hidden,
        [stack],
        final_norm=Norm("norm", hidden, bias=form.norm_bias, affine=form.norm_affine),
        tied_default=form.tied_default,
    )


def attention_of(fields: Fields, form: Decoder, kind: str) -> Component:
    """Build the attention of one layer."""
    return blocks.attention(
        fields.size("hidden_size"),
        fields.size("num_attention_heads"),
        form.key_value_heads,
        form.head_dim,
        fused=form.fused_qkv,
        qkv_bias=form.qkv_bias,
        output_bias=form.output_bias,
        norms=form.head_norms,
        window=form.window if kind == SLIDING else None,
    )


def around_attention(fields: Fields, form: Decoder, kind: str) -> tuple[Component, ...]:
    """The attention with the norms around it, and the norm before the MLP."""
    return (
        *_norm(fields, form, form.before_attention),
        attention_of(fields, form, kind),
        *_norm(fields, form, form.after_attention),
        *_norm(fields, form, form.before_mlp),
    )


def _layer(fields: Fields, form: Decoder, kind: str) -> tuple[Component, ...]:
    mlp = blocks.gated_mlp(
        fields.size("hidden_size"), fields.size("intermediate_size"), fused=form.fused_mlp, bias=form.mlp_bias
    )
    dropout = (Leaf("dropout"),) if form.dropout else ()
    if form.parallel:
        both = blocks.side_by_side((attention_of(fields, form, kind),), (mlp, *dropout))
        return (*_norm(fields, form, form.before_attention), both)
    return (*around_attention(fields, form, kind), mlp, *dropout, *_norm(fields, form, form.after_mlp))


def _norm(fields: Fields, form: Decoder, name: str | None) -> tuple[Component, ...]:
    if name is None:
        return ()
    return blocks.norms(name, features=fields.size("hidden_size"), bias=form.norm_bias, affine=form.norm_affine)


def standard_heads(fields: Fields) -> tuple[int, int]:
    """Return head_dim and the number of key and value heads."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    return blocks.head_dim(fields, hidden, heads), blocks.key_value_heads(fields, heads)


def llama(fields: Fields) -> Architecture:
    """Llama 1 to 3 (Touvron et al., arXiv 2302.13971; arXiv 2407.21783)."""
    bias = fields.flag("attention_bias", False)
    form = Decoder(*standard_heads(fields), qkv_bias=bias, output_bias=bias, mlp_bias=fields.flag("mlp_bias", False))
    return decoder(fields, form)


def granite(fields: Fields) -> Architecture:
    """Granite 3 (IBM 2024): Llama with scaled residuals, which multiplies nothing that is counted."""
    return llama(fields)


def mistral(fields: Fields) -> Architecture:
    """Mistral (Jiang et al., arXiv 2310.06825): one sliding window for all layers, or none.

    An absent `sliding_window` means 4096, as in Hugging Face; null means none.
    """
    window = fields.optional_size("sliding_window", _DEFAULT_WINDOW)
    return decoder(fields, Decoder(*standard_heads(fields), kinds=one_window(fields, window), window=window))


def ministral3(fields: Fields) -> Architecture:
    """Ministral 3 (Mistral 2025): Mistral with heads of their own width and by default no window."""
    window = fields.optional_size("sliding_window")
    heads = fields.size("num_attention_heads")
    head_dim = fields.optional_size("head_dim", 128) or blocks.split_heads(fields, fields.size("hidden_size"), heads)
    groups = blocks.key_value_heads(fields, heads)
    return decoder(fields, Decoder(head_dim, groups, kinds=one_window(fields, window), window=window))


def one_window(fields: Fields, window: int | None) -> list[str]:
    """The kinds of layers where all have the same window, or none."""
    return [FULL if window is None else SLIDING] * fields.size("num_hidden_layers")


def phi3(fields: Fields) -> Architecture:
    """Phi-3 (Abdin et al., arXiv 2404.14219): q, k, v in one matrix, gate and up in one, which changes no count."""
    window = fields.optional_size("sliding_window")
    form = Decoder(
        *standard_heads(fields),
        kinds=one_window(fields, window),
        window=window,
        fused_qkv="qkv_proj",
        fused_mlp="gate_up_proj",
        dropout=bool(fields.values.get("resid_pdrop")),
    )
    return decoder(fields, form)


def qwen_windows(fields: Fields) -> tuple[list[str], int | None]:
    """The kinds of Qwen's layers: the last ones slide where the config says so."""
    layers = fields.size("num_hidden_layers")
    window = (
        fields.optional_size("sliding_window", _DEFAULT_WINDOW) if fields.flag("use_sliding_window", False) else None
    )
    first_local = fields.values.get("max_window_layers", _QWEN_DEFAULT_MAX_WINDOW_LAYERS)
    if isinstance(first_local, bool) or not isinstance(first_local, int) or first_local < 0:
        raise fields.unusable("max_window_layers", "a whole number")
    default = [SLIDING if window is not None and layer >= first_local else FULL for layer in range(layers)]
    return blocks.layer_types(fields, layers, default), window


def qwen2(fields: Fields) -> Architecture:
    """Qwen 2 and 2.5 (arXiv 2407.10671): biases on q, k and v."""
    kinds, window = qwen_windows(fields)
    return decoder(fields, Decoder(*standard_heads(fields), kinds=kinds, window=window, qkv_bias=True))


def qwen3(fields: Fields) -> Architecture:
    """Qwen 3 dense (arXiv 2505.09388): a norm on every query and key head, head_dim of its own (128 if absent)."""
    heads = fields.size("num_attention_heads")
    bias, head_dim = fields.flag("attention_bias", False), fields.size("head_dim", _QWEN3_DEFAULT_HEAD_DIM)
    kinds, window = qwen_windows(fields)
    form = Decoder(
        head_dim,
        blocks.key_value_heads(fields, heads),
        kinds=kinds,
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        head_norms=blocks.head_norms(head_dim),
    )
    return decoder(fields, form)


def stablelm(fields: Fields) -> Architecture:
    """StableLM 2 (Bellagente et al., arXiv 2402.17834): LayerNorm, optional norms per head, MLP optionally parallel."""
    heads, (head_dim, groups) = fields.size("num_attention_heads"), standard_heads(fields)
    norms: tuple[Leaf, ...] = ()
    if fields.flag("qk_layernorm", False):
        norms = blocks.head_norms(head_dim, ("q_layernorm.norms", "k_layernorm.norms"), times=(heads, groups))
    form = Decoder(
        head_dim,
        groups,
        qkv_bias=fields.flag("use_qkv_bias", False),
        head_norms=norms,
        norm_bias=True,
        dropout=bool(fields.values.get("hidden_dropout")),
        parallel=fields.flag("use_parallel_residual", False),
    )
    return decoder(fields, form)


def olmo(fields: Fields) -> Architecture:
    """OLMo (Groeneveld et al., arXiv 2402.00838): norms without parameters."""
    bias = fields.flag("attention_bias", False)
    return decoder(fields, Decoder(*standard_heads(fields), qkv_bias=bias, output_bias=bias, norm_affine=False))


def olmo2(fields: Fields) -> Architecture:
    """OLMo 2 (arXiv 2501.00656): norms after attention and MLP, and on all of q and k."""
    return decoder(fields, _olmo2(fields, None, None))


def olmo3(fields: Fields) -> Architecture:
    """OLMo 3 (Ai2 2025): OLMo 2 with a sliding window on three of four layers."""
    layers = fields.size("num_hidden_layers")
    kinds = blocks.layer_types(fields, layers, every(layers, 4))
    return decoder(fields, _olmo2(fields, kinds, fields.optional_size("sliding_window", _DEFAULT_WINDOW)))


def _olmo2(fields: Fields, kinds: Sequence[str] | None, window: int | None) -> Decoder:
    heads, (head_dim, groups) = fields.size("num_attention_heads"), standard_heads(fields)
    bias = fields.flag("attention_bias", False)
    return Decoder(
        head_dim,
        groups,
        kinds=kinds,
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        head_norms=blocks.head_norms(head_dim, times=(heads, groups)),
        before_attention=None,
        after_attention="post_attention_layernorm",
        before_mlp=None,
        after_mlp="post_feedforward_layernorm",
    )


def every(layers: int, period: int) -> list[str]:
    """Sliding layers with a global one at the end of every period."""
    return [SLIDING if period and (layer + 1) % period else FULL for layer in range(layers)]


def cohere(fields: Fields) -> Architecture:
    """Command R (Cohere 2024): attention and MLP side by side after one norm, tied head."""
    head_dim, groups = standard_heads(fields)
    norms: tuple[Leaf, ...] = ()
    if fields.flag("use_qk_norm", False):
        norms = blocks.head_norms(head_dim, times=(fields.size("num_attention_heads"), groups))
    return decoder(fields, _cohere(fields, head_dim, groups, norms))


def cohere2(fields: Fields) -> Architecture:
    """Command R7B (Cohere 2024): Command R with a sliding window on three of four layers."""
    layers = fields.size("num_hidden_layers")
    period = fields.size("sliding_window_pattern", 4)
    kinds = blocks.layer_types(fields, layers, every(layers, period))
    window = fields.optional_size("sliding_window", _DEFAULT_WINDOW)
    return decoder(fields, _cohere(fields, *standard_heads(fields), (), kinds, window))


def _cohere(
    fields: Fields,
    head_dim: int,
    groups: int,
    norms: tuple[Leaf, ...],
    kinds: Sequence[str] | None = None,
    window: int | None = None,
) -> Decoder:
    bias = fields.flag("attention_bias", False)
    return Decoder(
        head_dim,
        groups,
        kinds=kinds,
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        head_norms=norms,
        tied_default=True,
        parallel=True,
    )


def smollm3(fields: Fields) -> Architecture:
    """SmolLM3 (Hugging Face 2025): every fourth layer without rotary positions, which slides where windows are on."""
    layers, bias = fields.size("num_hidden_layers"), fields.flag("attention_bias", False)
    sliding = fields.flag("use_sliding_window", False)
    window = fields.optional_size("sliding_window") if sliding else None
    rotary = fields.values.get("no_rope_layers")
    if rotary is None:
        interval = fields.size("no_rope_layer_interval", 4)
        rotary = [int((layer + 1) % interval != 0) for layer in range(layers)]
    if not isinstance(rotary, (list, tuple)) or len(rotary) != layers:
        raise fields.unusable("no_rope_layers", f"a list of {layers} entries, one per layer,")
    default = [SLIDING if window is not None and not has_rope else FULL for has_rope in rotary]
    form = Decoder(
        *standard_heads(fields),
        kinds=blocks.layer_types(fields, layers, default),
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=fields.flag("mlp_bias", False),
        tied_default=True,
    )
    return decoder(fields, form)


def glm(fields: Fields) -> Architecture:
    """GLM-4 9B (arXiv 2406.12793): biases on q, k and v, gate and up in one matrix."""
    return decoder(fields, _glm(fields, after_attention=None, after_mlp=None))


def glm4(fields: Fields) -> Architecture:
    """GLM-4-0414 (Zhipu 2025): GLM with norms after attention and MLP, too."""
    return decoder(fields, _glm(fields, after_attention="post_self_attn_layernorm", after_mlp="post_mlp_layernorm"))


def glm4v_text(fields: Fields) -> Architecture:
    """GLM-4.1V's text model (arXiv 2507.01006): GLM-4-0414 with biases on q, k and v."""
    head_dim, groups = standard_heads(fields)
    form = _glm(fields, after_attention="post_self_attn_layernorm", after_mlp="post_mlp_layernorm")
    return decoder(fields, replace(form, head_dim=head_dim, key_value_heads=groups, qkv_bias=True))


def _glm(fields: Fields, *, after_attention: str | None, after_mlp: str | None) -> Decoder:
    heads = fields.size("num_attention_heads")
    return Decoder(
        fields.size("head_dim", 128),
        blocks.key_value_heads(fields, heads),
        qkv_bias=fields.flag("attention_bias", True),
        fused_mlp="gate_up_proj",
        after_attention=after_attention,
        after_mlp=after_mlp,
    )


def exaone4(fields: Fields) -> Architecture:
    """EXAONE 4 (LG 2025, arXiv 2507.11407): norms after attention and MLP and on heads, three of four layers slide."""
    head_dim, groups = standard_heads(fields)
    layers, window = fields.size("num_hidden_layers"), fields.optional_size("sliding_window", _DEFAULT_WINDOW)
    listed = window is None or fields.values.get("layer_types") is not None
    period = None if listed else fields.optional_size("sliding_window_pattern", 4)
    form = Decoder(
        head_dim,
        groups,
        kinds=blocks.layer_types(fields, layers, every(layers, period or 0)),
        window=window,
        head_norms=blocks.head_norms(head_dim),
        before_attention=None,
        after_attention="post_attention_layernorm",
        before_mlp=None,
        after_mlp="post_feedforward_layernorm",
    )
    return decoder(fields, form)


def seed_oss(fields: Fields) -> Architecture:
    """Seed-OSS (ByteDance 2025): Llama with biases on q, k and v and heads of their own width."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    form = Decoder(
        fields.optional_size("head_dim", 128) or blocks.split_heads(fields, hidden, heads),
        blocks.key_value_heads(fields, heads),
        qkv_bias=fields.flag("attention_bias", True),
        output_bias=fields.flag("attention_out_bias", False),
        mlp_bias=fields.flag("mlp_bias", False),
        dropout=fields.values.get("residual_dropout", 0.1) != 0,
    )
    return decoder(fields, form)

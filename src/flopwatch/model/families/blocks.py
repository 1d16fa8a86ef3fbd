"""Blocks that architectures share: attention, MLPs, mixtures of experts, embeddings and heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from flopwatch.errors import ConfigError
from flopwatch.model.architecture import Architecture, Component, Group, Stack
from flopwatch.model.batch import TOKENS, Rows
from flopwatch.model.components import AttentionCore, Embedding, Experts, Leaf, Linear, Norm
from flopwatch.model.families.config import Fields

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")


def head_dim(fields: Fields, hidden_size: int, heads: int) -> int:
    """The `head_dim` field, or hidden_size / heads where it is absent or null.

    Raises:
        ConfigError: If it is absent and the heads do not divide the hidden size.
    """
    stated = fields.optional_size("head_dim")
    return stated if stated is not None else split_heads(fields, hidden_size, heads)


def split_heads(fields: Fields, hidden_size: int, heads: int) -> int:
    """Return the head size: hidden_size / heads.

    Raises:
        ConfigError: If the heads do not divide the hidden size.
    """
    if hidden_size % heads:
        raise ConfigError(
            f"the {fields.model_type} config has no 'head_dim' and its hidden size {hidden_size} is not a multiple of"
            f" its {heads} attention heads; check 'hidden_size' and 'num_attention_heads'"
        )
    return hidden_size // heads


# What Hugging Face's config classes take where `num_key_value_heads` is absent; of the others it is as many as heads.
_KEY_VALUE_HEADS: Mapping[str, int] = MappingProxyType(
    {
        "bamba": 8,
        "ernie4_5_moe": 4,
        "exaone4": 32,
        "falcon_h1": 8,
        "gemma": 16,
        "gemma2": 4,
        "gemma3_text": 4,
        "glm": 2,
        "glm4": 2,
        "glm4_moe": 8,
        "gpt_oss": 8,
        "jamba": 8,
        "lfm2": 8,
        "llama4_text": 8,
        "minimax": 8,
        "minimax_m2": 8,
        "ministral3": 8,
        "mistral": 8,
        "mixtral": 8,
        "nemotron_h": 8,
        "phimoe": 8,
        "qwen2": 32,
        "qwen2_moe": 16,
        "qwen2_vl_text": 8,
        "qwen2_5_vl_text": 8,
        "qwen2_5_omni_text": 4,
        "qwen3": 32,
        "qwen3_vl_text": 32,
        "qwen3_vl_moe_text": 16,
        "glm4v_text": 2,
        "glm4v_moe_text": 8,
        "qwen3_5_moe_text": 2,
        "qwen3_5_text": 4,
        "qwen3_moe": 4,
        "qwen3_omni_moe_text": 4,
        "qwen3_next": 2,
        "seed_oss": 8,
        "smollm3": 4,
        "stablelm": 32,
        "starcoder2": 2,
    }
)


def key_value_heads(fields: Fields, heads: int) -> int:
    """The `num_key_value_heads` field; null means as many as query heads, absence Hugging Face's default.

    Raises:
        ConfigError: If the query heads are not a multiple of it.
    """
    absent = "num_key_value_heads" not in fields.values
    groups = fields.size("num_key_value_heads", _KEY_VALUE_HEADS.get(fields.model_type, heads) if absent else heads)
    if heads % groups:
        raise ConfigError(
            f"the {fields.model_type} config has num_attention_heads={heads}, which is not a multiple of"
            f" num_key_value_heads={groups}"
        )
    return groups


def attention(
    hidden_size: int,
    heads: int,
    key_value_heads: int,
    head_dim: int,
    *,
    name: str = "self_attn",
    names: tuple[str, str, str, str] = QKVO,
    fused: str | None = None,
    qkv_bias: bool = False,
    output_bias: bool = False,
    norms: Sequence[Leaf] = (),
    window: int | None = None,
    chunk: int | None = None,
    gated: bool = False,
) -> Group:
    """Causal self-attention with grouped keys and values: q, k, v (in one matrix if `fused`), the two products, o.

    With `gated` the query's matrix also gives a gate as wide as the output (Qwen 3 Next).
    """
    query_size, key_size = heads * head_dim, key_value_heads * head_dim
    query, key, value, output = names
    projections: tuple[Leaf, ...]
    if fused is not None:
        projections = (Linear(fused, hidden_size, query_size + 2 * key_size, bias=qkv_bias, writes="qkv"),)
        reads = ("qkv", "qkv", "qkv")
    else:
        projections = (
            Linear(query, hidden_size, query_size * (1 + gated), bias=qkv_bias, writes="q"),
            Linear(key, hidden_size, key_size, bias=qkv_bias, writes="k"),
            Linear(value, hidden_size, key_size, bias=qkv_bias, writes="v"),
        )
        reads = ("q", "k", "v")
    core = AttentionCore("core", heads, head_dim, head_dim, window=window, chunk=chunk, reads=reads)
    merged = Linear(output, query_size, hidden_size, bias=output_bias, reads=("o", "q") if gated else ("o",))
    return Group(name, (*projections, *norms, core, merged))


def head_norms(
    head_dim: int, names: tuple[str, str] = ("q_norm", "k_norm"), *, times: tuple[int, int] = (1, 1), bias: bool = False
) -> tuple[Leaf, Leaf]:
    """Build the norms of queries and keys over the given numbers of heads."""
    return (
        Norm(names[0], head_dim * times[0], bias=bias, reads=("q",), writes="q"),
        Norm(names[1], head_dim * times[1], bias=bias, reads=("k",), writes="k"),
    )


def gated_mlp(
    hidden_size: int,
    intermediate_size: int,
    *,
    name: str = "mlp",
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
    fused: str | None = None,
    bias: bool = False,
    rows: Rows = TOKENS,
    stream: str = "x",
    writes: str | None = None,
) -> Group:
    """A gated MLP: gate and up (in one matrix if `fused`), and down; by default it writes what it reads."""
    gate, up, down = names
    reads, out = (stream,), writes or stream
    last = Linear(down, intermediate_size, hidden_size, bias, None, rows, reads=("h",), writes=out)
    if fused is not None:
        return Group(
            name, (Linear(fused, hidden_size, 2 * intermediate_size, bias, None, rows, reads=reads, writes="h"), last)
        )
    first = (
        Linear(each, hidden_size, intermediate_size, bias, None, rows, reads=reads, writes="h") for each in (gate, up)
    )
    return Group(name, (*first, last))


def plain_mlp(
    hidden_size: int,
    intermediate_size: int,
    *,
    name: str = "mlp",
    names: tuple[str, str] = ("up_proj", "down_proj"),
    bias: bool = True,
    rows: Rows = TOKENS,
    stream: str = "x",
) -> Group:
    """A two-matrix MLP: up and down."""
    return Group(
        name,
        (
            Linear(names[0], hidden_size, intermediate_size, bias, None, rows, reads=(stream,), writes="h"),
            Linear(names[1], intermediate_size, hidden_size, bias, None, rows, reads=("h",), writes=stream),
        ),
    )


def side_by_side(*branches: tuple[Component, ...]) -> Group:
    """Branches that all read the hidden state as it was before them, and whose results are added up."""
    return Group("", tuple(Group("", branch) for branch in branches), side_by_side=True)


def routed(
    hidden_size: int,
    intermediate_size: int,
    experts: int,
    active: int,
    *,
    router: str = "gate",
    router_bias: bool = False,
    bias: bool = False,
    gated: bool = True,
) -> tuple[Component, ...]:
    """A router and its experts, all tokens kept: every token meets `active` of them."""
    up = "gate_up_proj" if gated else "up_proj"
    first = Experts(up, hidden_size, intermediate_size * (1 + gated), experts, active, bias, writes="h", bare=True)
    last = Experts("down_proj", intermediate_size, hidden_size, experts, active, bias, reads=("h",), bare=True)
    return (
        Linear(router, hidden_size, experts, bias=router_bias, role="router", writes="route"),
        Group("experts", (first, last, Leaf("weighted_sum", reads=("route", "x")))),
    )


def active_experts(fields: Fields, experts: int, name: str = "num_experts_per_tok") -> int:
    """Return how many experts a token is routed to.

    Raises:
        ConfigError: If it is more than there are.
    """
    active = fields.size(name)
    if active > experts:
        raise fields.unusable(name, f"no more than the {experts} experts")
    return active


def norms(*names: str, features: int, bias: bool = False, affine: bool = True) -> tuple[Component, ...]:
    """Norms of one layer over the hidden state."""
    return tuple(Norm(name, features, bias=bias, affine=affine) for name in names)


def language_model(
    fields: Fields,
    hidden_size: int,
    layers: Sequence[Component],
    *,
    final_norm: Norm | None,
    embedding: str = "model.embed_tokens",
    head: str = "lm_head",
    head_bias: bool = False,
    tied_default: bool = False,
    body: str = "model",
    max_seq_len: int | None = None,
    before: Sequence[Component] = (),
    ties: bool = True,
) -> Architecture:
    """Token embedding, layers, last norm and LM head.

    The head's weight is the embedding's where the config says so and the family's class `ties` them at all.
    """
    vocab_size = fields.size("vocab_size")
    tied = embedding if ties and fields.flag("tie_word_embeddings", tied_default) else None
    last = () if final_norm is None else (replace(final_norm, name=f"{body}.{final_norm.name}"),)
    return Architecture(
        fields.model_type,
        (
            Embedding(embedding, vocab_size, hidden_size, words=True, reads=()),
            *before,
            *layers,
            *last,
            Linear(head, hidden_size, vocab_size, bias=head_bias, tied=tied, role="head"),
        ),
        max_seq_len=max_seq_len,
    )


def mpt_model(fields: Fields, hidden_size: int, layer: tuple[Component, ...], *, tied: bool) -> Architecture:
    """Equal layers under the names that MPT and DBRX share; `tied` where the config does not say."""
    return language_model(
        fields,
        hidden_size,
        [stack("transformer.blocks", [("", layer)] * fields.size("n_layers"))],
        final_norm=Norm("norm_f", hidden_size),
        embedding="transformer.wte",
        body="transformer",
        tied_default=tied,
    )


def stack(name: str, layers: Sequence[tuple[str, tuple[Component, ...]]]) -> Stack:
    """Layers in a row from the (label, parts) of each; layers with the same label are of one kind."""
    kinds: dict[str, Group] = {}
    for label, parts in layers:
        kinds.setdefault(label, Group(label, parts))
    labels = list(kinds)
    only = [Group("", kinds[labels[0]].children)] if len(labels) == 1 else list(kinds.values())
    return Stack(name, tuple(only), tuple(labels.index(label) for label, _ in layers))


def stack_of(name: str, labels: Sequence[str], build: Callable[[str], tuple[Component, ...]]) -> Stack:
    """Layers in a row from their labels; each kind is built once."""
    kinds = {label: build(label) for label in dict.fromkeys(labels)}
    return stack(name, [(label, kinds[label]) for label in labels])


def layer_types(
    fields: Fields,
    layers: int,
    default: Sequence[str],
    allowed: tuple[str, ...] = (FULL, SLIDING),
    name: str = "layer_types",
) -> list[str]:
    """Return the kind of every layer.

    Args:
        fields: The config; its `layer_types` decides where it is given.
        layers: The number of layers.
        default: The pattern that the family takes where the field is absent.
        allowed: The kinds that the family has.
        name: The field.

    Raises:
        ConfigError: If the list has another length or another kind of layer.
    """
    types = fields.values.get(name)
    if types is None:
        types = default
    if not isinstance(types, (list, tuple)) or len(types) != layers:
        raise fields.unusable(name, f"a list of {layers} entries, one per layer,")
    if {str(kind) for kind in types} - set(allowed):
        raise fields.unusable(name, f"{' or '.join(map(repr, allowed))} for every layer")
    return list(types)


def shared(layers: Stack) -> Stack:
    """The same layers with one set of parameters for all of them."""
    return replace(layers, shared=True)

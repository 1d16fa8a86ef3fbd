"""DeBERTa V2 and V3: attention whose scores add products of content with relative positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flopwatch.model.architecture import Architecture, Component, Group, Stack
from flopwatch.model.batch import Batch, Counted, Lengthened, Sequences, Span
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields

_TOKENS = Lengthened(0)  # documents that are packed into a sequence see each other here


@dataclass(frozen=True)
class Once(Counted):
    """So many rows for a whole pass, however many sequences there are."""

    each: int

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span."""
        return ((self.each, 1),) if batch.sequences else ()


def deberta_v2(fields: Fields) -> Architecture:
    """DeBERTa V2 and V3 for masked language modelling (He et al., arXiv 2006.03654, 2111.09543)."""
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    width, vocab_size = fields.size("embedding_size", hidden), fields.size("vocab_size")
    positions = fields.size("max_position_embeddings", 512)
    path, encoder = "deberta.embeddings", "deberta.encoder"
    absolute = fields.flag("position_biased_input", True)
    tables = [Embedding(f"{path}.word_embeddings", vocab_size, width, words=True, reads=())]
    if absolute:
        tables.append(Embedding(f"{path}.position_embeddings", positions, width, reads=()))
    if fields.values.get("type_vocab_size"):
        tables.append(Embedding(f"{path}.token_type_embeddings", fields.size("type_vocab_size"), width, reads=()))
    stack = blocks.stack(f"{encoder}.layer", [("", _layer(fields, hidden))] * layers)
    return Architecture(
        fields.model_type,
        (
            *tables,
            *([Linear(f"{path}.embed_proj", width, hidden)] if width != hidden else []),
            Norm(f"{path}.LayerNorm", hidden, bias=True),
            *_positions(fields, encoder, hidden),
            *_with_convolution(fields, encoder, hidden, stack),
            *_words(fields, hidden, width, f"{path}.word_embeddings"),
        ),
        max_seq_len=positions if absolute else None,
        causal=False,
    )


def _span(fields: Fields) -> int:
    """How far relative positions are told apart, to both sides."""
    buckets, farthest = (fields.values.get(name) for name in ("position_buckets", "max_relative_positions"))
    if isinstance(buckets, int) and buckets > 0:
        return fields.size("position_buckets")
    if isinstance(farthest, int) and farthest > 0:
        return fields.size("max_relative_positions")
    return fields.size("max_position_embeddings", 512)


def _positions(fields: Fields, encoder: str, hidden: int) -> tuple[Component, ...]:
    """The table of relative positions, which every layer reads."""
    parts: list[Component] = []
    if fields.flag("relative_attention", False):
        parts.append(Embedding(f"{encoder}.rel_embeddings", 2 * _span(fields), hidden, reads=(), writes="r"))
    if "layer_norm" in str(fields.values.get("norm_rel_ebd", "none")).lower():
        parts.append(Norm(f"{encoder}.LayerNorm", hidden, bias=True, reads=("r",), writes="r"))
    return tuple(parts)


def _kinds_of_scores(fields: Fields) -> frozenset[str]:
    """Which products with positions are added: c2p, of queries, and p2c, of keys."""
    stated = fields.values.get("pos_att_type") or ()
    if not isinstance(stated, str | list | tuple):
        raise fields.unusable("pos_att_type", "a list such as ['p2c', 'c2p']")
    kinds = stated.lower().split("|") if isinstance(stated, str) else [str(each) for each in stated]
    return frozenset(each.strip() for each in kinds) if fields.flag("relative_attention", False) else frozenset()


def _layer(fields: Fields, hidden: int) -> tuple[Component, ...]:
    heads = fields.size("num_attention_heads")
    head_dim = fields.size("attention_head_size", blocks.split_heads(fields, hidden, heads))
    width = heads * head_dim
    projections = tuple(
        Linear(f"{name}_proj", hidden, width, True, writes=name[0]) for name in ("query", "key", "value")
    )
    added = _kinds_of_scores(fields)
    core = AttentionCore("core", heads, head_dim, head_dim, causal=False, rows=_TOKENS)
    inside = (
        *projections,
        *_scores(fields, added, hidden, heads, head_dim),
        replace(core, reads=("q", "k", "v", *(("s",) if added else ()))),
    )
    return (
        Group("attention.self", inside),
        Linear("attention.output.dense", width, hidden, True, reads=("o",)),
        Norm("attention.output.LayerNorm", hidden, bias=True),
        blocks.plain_mlp(
            hidden, fields.size("intermediate_size"), name="", names=("intermediate.dense", "output.dense")
        ),
        Norm("output.LayerNorm", hidden, bias=True),
    )


def _scores(fields: Fields, added: frozenset[str], hidden: int, heads: int, head_dim: int) -> tuple[Leaf, ...]:
    """Positions through layers of their own, or through those of queries and keys, and their products."""
    shared, both = fields.flag("share_att_key", False), 2 * _span(fields)
    parts: list[Leaf] = []
    for kind, content, own, used in (
        ("c2p", "q", "pos_key_proj", "key_proj"),
        ("p2c", "k", "pos_query_proj", "query_proj"),
    ):
        if kind not in added and not (shared and fields.flag("relative_attention", False)):
            continue
        layer = Linear(
            used if shared else own, hidden, heads * head_dim, True, None, Once(both), reads=("r",), again=shared
        )
        parts.append(replace(layer, writes=kind, no_grad=kind not in added))
        if kind in added:
            reads = (content, kind, kind)
            product = AttentionCore(
                f"{kind} core", heads, head_dim, 0, causal=False, rows=_TOKENS, keys=Sequences(both)
            )
            parts.append(replace(product, reads=reads, writes="s"))
    return tuple(parts)


def _with_convolution(fields: Fields, encoder: str, hidden: int, stack: Stack) -> tuple[Component, ...]:
    """A convolution of the embeddings, whose result is added behind the first layer."""
    if not fields.values.get("conv_kernel_size"):
        return (stack,)
    kernel, groups = fields.size("conv_kernel_size"), fields.size("conv_groups", 1)
    if kernel % 2 == 0 or hidden % groups:
        raise fields.unusable("conv_kernel_size", "an odd number, and conv_groups that divide the hidden size,")
    first, rest = replace(stack, pattern=stack.pattern[:1]), replace(stack, pattern=stack.pattern[1:], start=1)
    return (
        Leaf("deberta.embeddings", writes="e"),
        first,
        Linear(f"{encoder}.conv.conv", kernel * hidden // groups, hidden, True, reads=("e",)),
        Norm(f"{encoder}.conv.LayerNorm", hidden, bias=True),
        *([rest] if rest.pattern else []),
    )


def _words(fields: Fields, hidden: int, width: int, embedding: str) -> tuple[Component, ...]:
    vocab_size = fields.size("vocab_size")
    if not fields.flag("legacy", True):
        if width != hidden:
            raise fields.unusable("embedding_size", f"the hidden size, {hidden}, without the legacy head")
        path = "lm_predictions.lm_head"
        return (
            Linear(f"{path}.dense", hidden, hidden, True, role="head"),
            Norm(f"{path}.LayerNorm", hidden, bias=True),
            Linear(f"{path}.words", hidden, vocab_size, tied=embedding, role="head", called=False),
            Vector(f"{path}.bias", vocab_size, bare=True),
        )
    tied, path = embedding if fields.flag("tie_word_embeddings", True) else None, "cls.predictions"
    return (
        Linear(f"{path}.transform.dense", hidden, width, True),
        Norm(f"{path}.transform.LayerNorm", width, bias=True),
        Linear(f"{path}.decoder", width, vocab_size, bias=tied is None, tied=tied, role="head"),
        Vector(f"{path}.bias", vocab_size, bare=True),
    )

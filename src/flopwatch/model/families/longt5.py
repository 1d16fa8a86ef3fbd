"""LongT5: T5 whose encoder attends within a radius, and to sums of blocks of tokens where it is transient-global."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import SOURCE, Batch, Counted, Rows, Span
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.gpt import dropout
from flopwatch.model.families.seq2seq import side_norm, t5_around, t5_mlp
from flopwatch.model.row_blocks import Blocks

_LOCAL, _GLOBAL = "local", "transient-global"


@dataclass(frozen=True)
class Sums(Counted):
    """One row for every whole block of the source, for each sequence, or for each of its blocks of another size."""

    size: int
    within: int | None = None

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sequence, or per block of it."""
        times = 1 if self.within is None else -(-batch.source_len // self.within)
        return ((batch.source_len // self.size, times * batch.sequences),)


def longt5(fields: Fields) -> Architecture:
    """LongT5 (Guo et al., arXiv 2112.07916)."""
    kind = fields.values.get("encoder_attention_type", _LOCAL)
    if kind not in (_LOCAL, _GLOBAL):
        raise fields.unusable("encoder_attention_type", f"'{_LOCAL}' or '{_GLOBAL}'")
    first, other = (_layer(fields, table=table, everywhere=kind == _GLOBAL) for table in (True, False))
    layers = [("first", first), *[("", other)] * (fields.size("num_layers") - 1)]
    last = side_norm("encoder.final_layer_norm", fields.size("d_model"), "e")
    return t5_around(fields, (blocks.stack("encoder.block", layers), last))


def _layer(fields: Fields, *, table: bool, everywhere: bool) -> tuple[Component, ...]:
    hidden = fields.size("d_model")
    name = "layer.0.TransientGlobalSelfAttention" if everywhere else "layer.0.LocalSelfAttention"
    return (
        side_norm("layer.0.layer_norm", hidden, "e"),
        Group(name, _attention(fields, hidden, table=table, everywhere=everywhere)),
        side_norm("layer.1.layer_norm", hidden, "e"),
        t5_mlp(fields, 1, SOURCE, "e"),
        *dropout(fields, "dropout_rate", 0.1, "e"),
    )


def _attention(fields: Fields, hidden: int, *, table: bool, everywhere: bool) -> tuple[Component, ...]:
    """Hugging Face's code lets a filled block see three; the mask keeps what lies within the radius."""
    heads, head_dim, radius = fields.size("num_heads"), fields.size("d_kv"), fields.size("local_radius", 127)
    width, block = heads * head_dim, radius + 1
    size = fields.size("global_block_size", 16)
    reads = ("q", "k", "v", "e_bias")
    core = AttentionCore("core", heads, head_dim, head_dim, False, radius=radius, rows=SOURCE, reads=reads)
    as_it_runs = replace(core, radius=None, rows=Blocks(SOURCE, block), keys=Blocks(SOURCE, block, 3 * block))
    tables = ("relative_attention_bias", *(("global_relative_attention_bias",) if everywhere else ()))
    buckets = fields.size("relative_attention_num_buckets", 32)
    positions = [Embedding(each, buckets, heads, reads=(), writes="e_bias") for each in tables if table]
    return (
        *positions,
        *(_sums(hidden, size) if everywhere else ()),
        _projection("q", hidden, width, SOURCE),
        _projection("k", hidden, width, SOURCE),
        _projection("v", hidden, width, SOURCE),
        *(_beside(hidden, width, core, block, size) if everywhere else ()),
        replace(core, reference=as_it_runs),
        Linear("o", width, hidden, rows=SOURCE, reads=("o",), writes="e"),
    )


def _projection(name: str, hidden: int, width: int, rows: Rows) -> Linear:
    return Linear(name, hidden, width, rows=rows, reads=("e",), writes=name)


def _sums(hidden: int, size: int) -> tuple[Leaf, ...]:
    """Sums of blocks of tokens, as a product with a matrix of zeros and ones."""
    product = AttentionCore("sums", 1, hidden, 0, False, rows=SOURCE, keys=Sums(size))
    return (
        replace(product, reads=("e", "ones", "ones"), writes="g"),
        side_norm("global_input_layer_norm", hidden, "g"),
    )


def _beside(hidden: int, width: int, core: AttentionCore, block: int, size: int) -> tuple[Leaf, ...]:
    """The same keys' and values' matrices on the sums, and the pairs of every token with every sum."""
    again = (replace(_projection(name, hidden, width, Sums(size)), reads=("g",), again=True) for name in ("k", "v"))
    pairs = replace(core, name="side core", radius=None, keys=Sums(size))
    return (*again, replace(pairs, reference=replace(pairs, rows=Blocks(SOURCE, block), keys=Sums(size, block))))

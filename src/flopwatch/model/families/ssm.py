"""State space models: Mamba and Mamba-2, and their mixers, which `hybrids` use as well.

Mamba-1's selective scan is elementwise, on no matrix unit, and is not counted; Hugging Face's own code ends it with a
product by C, which only cross-checks count. Mamba-2's scan is counted as its chunked form (Dao and Gu, arXiv
2405.21060, section 6): scores and outputs within chunks, states written and read once per chunk. Its pass from chunk
to chunk is elementwise; Hugging Face's code does that with a product over all pairs of chunks, which again only
cross-checks count. A causal convolution computes as many outputs as there are tokens; Hugging Face's is padded on both
sides and computes kernel - 1 more.
"""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture, Group
from flopwatch.model.batch import Chunks, Lengthened
from flopwatch.model.components import Leaf, Linear, Norm, Product, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields

MAMBA, ATTENTION, LINEAR = "mamba", "attention", "linear_attention"
_ONE_CHUNK = 2**40


def causal_convolution(name: str, channels: int, kernel: int, *, bias: bool, value: str = "s") -> Linear:
    """A depthwise convolution over time."""
    convolution = Linear(name, kernel, channels, bias=bias, reads=(value,), writes=value)
    return replace(convolution, reference=replace(convolution, rows=Lengthened(kernel - 1)))


def mamba_mixer(
    hidden: int,
    inner: int,
    state: int,
    kernel: int,
    rank: int,
    *,
    name: str,
    bias: bool,
    conv_bias: bool,
    norms: bool = False,
) -> Group:
    """Mamba-1 (Gu and Dao, arXiv 2312.00752): projections, convolution, steps, B and C from the input, the scan."""
    small: tuple[Leaf, ...] = ()
    if norms:
        small = (
            Norm("dt_layernorm", rank, reads=("dt",), writes="dt"),
            Norm("b_layernorm", state, reads=("dt",), writes="dt"),
            Norm("c_layernorm", state, reads=("dt",), writes="dt"),
        )
    scan = Product("scan", reads=("s", "dt"), writes="y", padded=False)
    return Group(
        name,
        (
            Linear("in_proj", hidden, 2 * inner, bias=bias, writes="s"),
            causal_convolution("conv1d", inner, kernel, bias=conv_bias),
            Linear("x_proj", inner, rank + 2 * state, reads=("s",), writes="dt"),
            *small,
            Linear("dt_proj", rank, inner, bias=True, reads=("dt",), writes="dt", called=False),
            Vector("A_log", inner * state, bare=True, reads=("s",), writes="s"),
            Vector("D", inner, bare=True, reads=("s",), writes="s"),
            replace(scan, reference=replace(scan, per_row=2 * inner * state)),
            Linear("out_proj", inner, hidden, bias=bias, reads=("y",)),
        ),
    )


def mamba2_mixer(
    hidden: int,
    heads: int,
    head_dim: int,
    state: int,
    groups: int,
    kernel: int,
    chunk: int,
    *,
    name: str,
    bias: bool,
    conv_bias: bool,
    output_bias: bool | None = None,
    normed: bool = True,
) -> Group:
    """Mamba-2 (Dao and Gu, arXiv 2405.21060): one projection for everything, heads, and the chunked scan."""
    inner = heads * head_dim
    values = {"reads": ("s",), "writes": "y"}
    passing = Product("state_passing", chunk=_ONE_CHUNK, padded=False, rows=Chunks(chunk, 1), reads=("s",), writes="y")
    return Group(
        name,
        (
            Vector("dt_bias", heads, bare=True, writes="s"),
            Vector("A_log", heads, bare=True, writes="s"),
            Vector("D", heads, bare=True, writes="s"),
            Linear("in_proj", hidden, 2 * inner + 2 * groups * state + heads, bias=bias, writes="s"),
            causal_convolution("conv1d", inner + 2 * groups * state, kernel, bias=conv_bias),
            Product("scan", per_row=4 * inner * state, per_pair=2 * heads * (state + head_dim), chunk=chunk, **values),  # type: ignore[arg-type]
            replace(passing, reference=replace(passing, per_pair=2 * inner * state)),
            *([Norm("norm", inner, reads=("y",), writes="y")] if normed else []),
            Linear("out_proj", inner, hidden, bias=bias if output_bias is None else output_bias, reads=("y",)),
        ),
    )


def mamba(fields: Fields) -> Architecture:
    """Mamba (Gu and Dao, arXiv 2312.00752)."""
    return _mamba(fields)


def falcon_mamba(fields: Fields) -> Architecture:
    """Falcon Mamba (Zuo et al., arXiv 2410.05355): Mamba with norms that have no parameters."""
    return _mamba(fields)


def _mamba(fields: Fields) -> Architecture:
    hidden = fields.size("hidden_size")
    inner = fields.size("intermediate_size", fields.size("expand", 2) * hidden)
    rank = fields.values.get("time_step_rank", "auto")
    mixer = mamba_mixer(
        hidden,
        inner,
        fields.size("state_size", 16),
        fields.size("conv_kernel", 4),
        -(-hidden // 16) if rank in ("auto", None) else fields.size("time_step_rank"),
        name="mixer",
        bias=fields.flag("use_bias", False),
        conv_bias=fields.flag("use_conv_bias", True),
    )
    return _pure(fields, hidden, mixer, tied_default=True)


def mamba2(fields: Fields) -> Architecture:
    """Mamba-2 (Dao and Gu, arXiv 2405.21060)."""
    hidden, heads, head_dim = (fields.size(each) for each in ("hidden_size", "num_heads", "head_dim"))
    if fields.size("expand", 2) * hidden != heads * head_dim:
        raise fields.unusable("num_heads", f"heads of {head_dim} that make up {fields.size('expand', 2)} x {hidden}")
    mixer = mamba2_mixer(
        hidden,
        heads,
        head_dim,
        fields.size("state_size", 128),
        fields.size("n_groups", 8),
        fields.size("conv_kernel", 4),
        fields.size("chunk_size", 256),
        name="mixer",
        bias=fields.flag("use_bias", False),
        conv_bias=fields.flag("use_conv_bias", True),
    )
    return _pure(fields, hidden, mixer, tied_default=False)


def _pure(fields: Fields, hidden: int, mixer: Group, *, tied_default: bool) -> Architecture:
    layer = (*blocks.norms("norm", features=hidden), mixer)
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("backbone.layers", [("", layer)] * fields.size("num_hidden_layers"))],
        final_norm=Norm("norm_f", hidden),
        embedding="backbone.embeddings",
        body="backbone",
        tied_default=tied_default,
    )

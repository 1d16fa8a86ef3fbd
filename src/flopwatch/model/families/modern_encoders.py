"""Encoders with the parts of newer decoders, in which tokens see each other both ways: EuroBERT and NeoBERT."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.llama import llama


def eurobert(fields: Fields) -> Architecture:
    """EuroBERT (Boizard et al., arXiv 2503.05500): Llama without its causal mask, its head with the MLP's biases."""
    bias = fields.flag("mlp_bias", False)

    def changed(leaf: Leaf) -> Leaf:
        if isinstance(leaf, AttentionCore):
            return replace(leaf, causal=False)
        return replace(leaf, bias=bias) if isinstance(leaf, Linear) and leaf.role == "head" else leaf

    return replace(llama(fields).with_leaves(changed), causal=False)


def neobert(fields: Fields) -> Architecture:
    """NeoBERT (Le Breton et al., arXiv 2502.19587), whose code stands beside its weights, with its head for words.

    Of `intermediate_size` its gated MLP has two thirds, rounded up to a multiple of eight.
    """
    for name, usual in (("hidden_act", "swiglu"), ("rms_norm", True), ("rope", True)):
        if str(fields.values.get(name, usual)).lower() != str(usual).lower():
            raise fields.unusable(name, repr(usual))
    hidden, heads = fields.size("hidden_size", 768), fields.size("num_attention_heads", 12)
    head_dim, vocab_size = blocks.split_heads(fields, hidden, heads), fields.size("vocab_size", 30522)
    inner = -(-(2 * fields.size("intermediate_size", 3072) // 3) // 8) * 8
    layer = (
        Norm("attention_norm", hidden),
        Linear("qkv", hidden, 3 * hidden, writes="qkv"),
        AttentionCore("core", heads, head_dim, head_dim, causal=False, reads=("qkv", "qkv", "qkv")),
        Linear("wo", hidden, hidden, reads=("o",)),
        Norm("ffn_norm", hidden),
        blocks.gated_mlp(hidden, inner, name="ffn", names=("", "", "w3"), fused="w12"),
    )
    return Architecture(
        fields.model_type,
        (
            Embedding("model.encoder", vocab_size, hidden, words=True, reads=()),
            blocks.stack("model.transformer_encoder", [("", layer)] * fields.size("num_hidden_layers", 28)),
            Norm("model.layer_norm", hidden),
            Linear("decoder", hidden, vocab_size, bias=True, role="head"),
        ),
        causal=False,
    )

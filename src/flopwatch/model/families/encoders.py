"""BERT and its kin: bidirectional encoders with a masked-language-model head over all tokens."""

from __future__ import annotations

from collections.abc import Sequence

from flopwatch.errors import ConfigError
from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import TOKENS, Rows, Sequences
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.blocks import FULL, SLIDING
from flopwatch.model.families.config import Fields


def attention(
    name: str,
    hidden: int,
    heads: int,
    head_dim: int,
    names: tuple[str, str, str, str],
    *,
    bias: tuple[bool, bool, bool, bool] = (True, True, True, True),
    rows: Rows = TOKENS,
    stream: str = "x",
    keys: Rows | None = None,
    key_stream: str | None = None,
    causal: bool = False,
    core: str = "core",
) -> Group:
    """Attention of a stream to itself, in both directions unless causal, or to another one's `keys`."""
    width, source = heads * head_dim, key_stream or stream
    query, key, value, output = names
    key_rows = keys or rows
    q, k, v, o = "qkvo" if keys is None else ("cross_q", "cross_k", "cross_v", "cross_o")
    products = AttentionCore(
        core, heads, head_dim, head_dim, causal=causal, rows=rows, keys=keys, reads=(q, k, v), writes=o
    )
    return Group(
        name,
        (
            Linear(query, hidden, width, bias[0], None, rows, reads=(stream,), writes=q),
            Linear(key, hidden, width, bias[1], None, key_rows, reads=(source,), writes=k),
            Linear(value, hidden, width, bias[2], None, key_rows, reads=(source,), writes=v),
            products,
            Linear(output, width, hidden, bias[3], None, rows, reads=(o,), writes=stream),
        ),
    )


def _refuse_decoders(fields: Fields) -> None:
    fields.refuse("is_decoder", "it attends causally")
    fields.refuse("add_cross_attention", "it adds cross-attention over an encoder")


def _bert_layer(fields: Fields, hidden: int) -> tuple[Component, ...]:
    return (
        Group("attention", (*_bert_attention(fields, hidden), Norm("output.LayerNorm", hidden, bias=True))),
        _bert_mlp(fields, hidden),
        Norm("output.LayerNorm", hidden, bias=True),
    )


def _bert_attention(fields: Fields, hidden: int) -> tuple[Component, ...]:
    heads = fields.size("num_attention_heads")
    names = ("self.query", "self.key", "self.value", "output.dense")
    return attention("", hidden, heads, blocks.split_heads(fields, hidden, heads), names).children


def _bert_mlp(fields: Fields, hidden: int) -> Group:
    names = ("intermediate.dense", "output.dense")
    return blocks.plain_mlp(hidden, fields.size("intermediate_size"), name="", names=names)


def _embeddings(fields: Fields, path: str, width: int) -> tuple[Component, ...]:
    """Words, positions, segments and their norm."""
    sizes = [("position_embeddings", fields.size("max_position_embeddings"))]
    if fields.values.get("type_vocab_size", 2):
        sizes.append(("token_type_embeddings", fields.size("type_vocab_size", 2)))
    tables = (Embedding(f"{path}.{name}", rows, width, reads=()) for name, rows in sizes)
    words = Embedding(f"{path}.word_embeddings", fields.size("vocab_size"), width, words=True, reads=())
    return (words, *tables, Norm(f"{path}.LayerNorm", width, bias=True))


def _tied(fields: Fields, path: str) -> str | None:
    return path if fields.flag("tie_word_embeddings", True) else None


def _encoder(fields: Fields, parts: Sequence[Component], max_seq_len: int | None) -> Architecture:
    return Architecture(fields.model_type, tuple(parts), max_seq_len=max_seq_len, causal=False)


def bert(fields: Fields) -> Architecture:
    """BERT for masked language modelling (Devlin et al., arXiv 1810.04805)."""
    _refuse_decoders(fields)
    hidden = fields.size("hidden_size")
    head = "cls.predictions"
    return _encoder(
        fields,
        (
            *_embeddings(fields, "bert.embeddings", hidden),
            blocks.stack("bert.encoder.layer", [("", _bert_layer(fields, hidden))] * fields.size("num_hidden_layers")),
            Linear(f"{head}.transform.dense", hidden, hidden, bias=True),
            Norm(f"{head}.transform.LayerNorm", hidden, bias=True),
            *_head(fields, head, "decoder", hidden, "bert.embeddings.word_embeddings"),
        ),
        fields.size("max_position_embeddings"),
    )


def _head(fields: Fields, path: str, name: str, width: int, embedding: str) -> tuple[Component, ...]:
    """The product with the word embeddings and a bias beside it; untied, the layer has a bias of its own, too."""
    vocab_size, tied = fields.size("vocab_size"), _tied(fields, embedding)
    return (
        Linear(f"{path}.{name}", width, vocab_size, bias=tied is None, tied=tied, role="head"),
        Vector(f"{path}.bias", vocab_size, bare=True),
    )


def roberta(fields: Fields) -> Architecture:
    """RoBERTa and XLM-R (Liu et al., arXiv 1907.11692; Conneau et al., arXiv 1911.02116)."""
    _refuse_decoders(fields)
    hidden = fields.size("hidden_size")
    offset = fields.values.get("pad_token_id")
    offset = offset if isinstance(offset, int) and not isinstance(offset, bool) else 1
    return _encoder(
        fields,
        (
            *_embeddings(fields, "roberta.embeddings", hidden),
            blocks.stack(
                "roberta.encoder.layer", [("", _bert_layer(fields, hidden))] * fields.size("num_hidden_layers")
            ),
            Linear("lm_head.dense", hidden, hidden, bias=True),
            Norm("lm_head.layer_norm", hidden, bias=True),
            *_head(fields, "lm_head", "decoder", hidden, "roberta.embeddings.word_embeddings"),
        ),
        fields.size("max_position_embeddings") - offset - 1,
    )


def distilbert(fields: Fields) -> Architecture:
    """DistilBERT (Sanh et al., arXiv 1910.01108)."""
    hidden, heads = fields.size("dim"), fields.size("n_heads")
    positions = fields.size("max_position_embeddings")
    layer = (
        attention(
            "attention",
            hidden,
            heads,
            blocks.split_heads(fields, hidden, heads),
            ("q_lin", "k_lin", "v_lin", "out_lin"),
        ),
        Norm("sa_layer_norm", hidden, bias=True),
        blocks.plain_mlp(hidden, fields.size("hidden_dim"), name="ffn", names=("lin1", "lin2")),
        Norm("output_layer_norm", hidden, bias=True),
    )
    path, vocab_size = "distilbert.embeddings", fields.size("vocab_size")
    return _encoder(
        fields,
        (
            Embedding(f"{path}.word_embeddings", vocab_size, hidden, words=True, reads=()),
            Embedding(f"{path}.position_embeddings", positions, hidden, reads=()),
            Norm(f"{path}.LayerNorm", hidden, bias=True),
            blocks.stack("distilbert.transformer.layer", [("", layer)] * fields.size("n_layers")),
            Linear("vocab_transform", hidden, hidden, bias=True),
            Norm("vocab_layer_norm", hidden, bias=True),
            Linear(
                "vocab_projector",
                hidden,
                vocab_size,
                bias=True,
                tied=_tied(fields, f"{path}.word_embeddings"),
                role="head",
            ),
        ),
        positions,
    )


def albert(fields: Fields) -> Architecture:
    """ALBERT (Lan et al., arXiv 1909.11942): one layer's parameters for all layers, a narrow embedding."""
    for name in ("num_hidden_groups", "inner_group_num"):
        if fields.size(name, 1) != 1:
            raise fields.unusable(name, "1, one layer shared by all,")
    hidden, width, heads = (
        fields.size("hidden_size"),
        fields.size("embedding_size", 128),
        fields.size("num_attention_heads"),
    )
    inside = attention("", hidden, heads, blocks.split_heads(fields, hidden, heads), ("query", "key", "value", "dense"))
    layer = (
        Group("albert_layers.0.attention", (*inside.children, Norm("LayerNorm", hidden, bias=True))),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), name="albert_layers.0", names=("ffn", "ffn_output")),
        Norm("albert_layers.0.full_layer_layer_norm", hidden, bias=True),
    )
    layers = blocks.stack("albert.encoder.albert_layer_groups", [("", layer)] * fields.size("num_hidden_layers"))
    return _encoder(
        fields,
        (
            *_embeddings(fields, "albert.embeddings", width),
            Linear("albert.encoder.embedding_hidden_mapping_in", width, hidden, bias=True),
            blocks.shared(layers),
            Linear("predictions.dense", hidden, width, bias=True),
            Norm("predictions.LayerNorm", width, bias=True),
            *_head(fields, "predictions", "decoder", width, "albert.embeddings.word_embeddings"),
        ),
        fields.size("max_position_embeddings"),
    )


def electra(fields: Fields) -> Architecture:
    """ELECTRA's generator (Clark et al., arXiv 2003.10555): BERT with an embedding that may be narrower."""
    _refuse_decoders(fields)
    hidden = fields.size("hidden_size")
    width, vocab_size = fields.size("embedding_size", 128), fields.size("vocab_size")
    path = "electra.embeddings"
    project = [Linear("electra.embeddings_project", width, hidden, bias=True)] if width != hidden else []
    return _encoder(
        fields,
        (
            *_embeddings(fields, path, width),
            *project,
            blocks.stack(
                "electra.encoder.layer", [("", _bert_layer(fields, hidden))] * fields.size("num_hidden_layers")
            ),
            Linear("generator_predictions.dense", hidden, width, bias=True),
            Norm("generator_predictions.LayerNorm", width, bias=True),
            Linear(
                "generator_lm_head",
                width,
                vocab_size,
                bias=True,
                tied=_tied(fields, f"{path}.word_embeddings"),
                role="head",
            ),
        ),
        fields.size("max_position_embeddings"),
    )


def esm(fields: Fields) -> Architecture:
    """ESM-2 for proteins (Lin et al. 2023): BERT with norms before each part; a head for contacts, which rests."""
    _refuse_decoders(fields)
    fields.refuse("is_folding_model", "it folds proteins")
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, path = fields.size("num_attention_heads"), "esm.embeddings"
    dropped = (Leaf("dropout"),) if fields.values.get("hidden_dropout_prob", 0.1) else ()
    layer: tuple[Component, ...] = (
        Norm("attention.LayerNorm", hidden, bias=True),
        Group("attention", _bert_attention(fields, hidden)),
        Norm("LayerNorm", hidden, bias=True),
        _bert_mlp(fields, hidden),
        *dropped,
    )
    absolute = fields.values.get("position_embedding_type", "absolute") == "absolute"
    positions = fields.size("max_position_embeddings", 1026)
    contacts = Linear("esm.contact_head.regression", layers * heads, 1, True, None, Sequences(0), reads=("unread",))
    return _encoder(
        fields,
        (
            Embedding(f"{path}.word_embeddings", fields.size("vocab_size"), hidden, words=True, reads=()),
            *([Norm(f"{path}.layer_norm", hidden, bias=True)] if fields.flag("emb_layer_norm_before", False) else []),
            *([Embedding(f"{path}.position_embeddings", positions, hidden, reads=())] if absolute else []),
            blocks.stack("esm.encoder.layer", [("", layer)] * layers),
            Norm("esm.encoder.emb_layer_norm_after", hidden, bias=True),
            contacts,
            Linear("lm_head.dense", hidden, hidden, bias=True),
            Norm("lm_head.layer_norm", hidden, bias=True),
            *_unbiased_head(fields, hidden, f"{path}.word_embeddings"),
        ),
        positions if absolute else None,
    )


def _unbiased_head(fields: Fields, width: int, embedding: str) -> tuple[Component, ...]:
    vocab_size, tied = fields.size("vocab_size"), _tied(fields, embedding)
    return (
        Linear("lm_head.decoder", width, vocab_size, tied=tied, role="head"),
        Vector("lm_head.bias", vocab_size, bare=True),
    )


def modernbert(fields: Fields) -> Architecture:
    """ModernBERT (Warner et al., arXiv 2412.13663): rotary positions, gated MLP, two of three layers local.

    A local layer's token sees `local_attention` / 2 others to each side, as its mask in Hugging Face does.
    """
    fields.refuse("sparse_prediction", "the head runs on masked tokens only")
    hidden, heads, layers = (fields.size(each) for each in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    head_dim = blocks.split_heads(fields, hidden, heads)
    norm_bias, bias = fields.flag("norm_bias", False), fields.flag("attention_bias", False)
    radius = fields.size("local_attention", 128) // 2
    period = fields.size("global_attn_every_n_layers", 3)
    kinds = blocks.layer_types(fields, layers, [SLIDING if layer % period else FULL for layer in range(layers)])
    mlp_bias = fields.flag("mlp_bias", False)
    mlp = blocks.gated_mlp(hidden, fields.size("intermediate_size"), names=("", "", "Wo"), fused="Wi", bias=mlp_bias)

    def layer(number: int) -> tuple[str, tuple[Component, ...]]:
        inside = (
            Linear("Wqkv", hidden, 3 * hidden, bias=bias, writes="qkv"),
            AttentionCore(
                "core",
                heads,
                head_dim,
                head_dim,
                causal=False,
                radius=radius if kinds[number] == SLIDING else None,
                reads=("qkv", "qkv", "qkv"),
            ),
            Linear("Wo", hidden, hidden, bias=bias, reads=("o",)),
        )
        before = blocks.norms("attn_norm", features=hidden, bias=norm_bias) if number else ()
        label = kinds[number] if number else f"first {kinds[number]}"
        return label, (*before, Group("attn", inside), *blocks.norms("mlp_norm", features=hidden, bias=norm_bias), mlp)

    head_bias = fields.flag("classifier_bias", False)
    path = "model.embeddings"
    return _encoder(
        fields,
        (
            Embedding(f"{path}.tok_embeddings", fields.size("vocab_size"), hidden, words=True, reads=()),
            Norm(f"{path}.norm", hidden, bias=norm_bias),
            blocks.stack("model.layers", [layer(number) for number in range(layers)]),
            Norm("model.final_norm", hidden, bias=norm_bias),
            Linear("head.dense", hidden, hidden, bias=head_bias),
            Norm("head.norm", hidden, bias=norm_bias),
            Linear(
                "decoder",
                hidden,
                fields.size("vocab_size"),
                bias=fields.flag("decoder_bias", True),
                tied=_tied(fields, f"{path}.tok_embeddings"),
                role="head",
            ),
        ),
        None,
    )


def needs_mapping(fields: Fields, name: str) -> Fields:
    """A part of a composite config.

    Raises:
        ConfigError: If it is missing.
    """
    values = fields.mapping(name)
    if not values:
        raise ConfigError(f"the {fields.model_type} config lacks {name!r}, which its FLOPs depend on")
    return Fields(f"{fields.model_type} {name}", values)

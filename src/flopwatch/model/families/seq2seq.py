"""Encoder-decoders: T5, BART and its kin, Whisper; cross-attention's keys and values are counted on the source."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import SOURCE, TOKENS, Rows, Source
from flopwatch.model.components import AttentionCore, Embedding, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import attention
from flopwatch.model.families.gpt import dropout

_T5_QKVO = ("q", "k", "v", "o")
_BART_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")
_BART_POSITION_OFFSET = 2
_NO_BIAS = (False, False, False, False)


def t5(fields: Fields) -> Architecture:
    """T5 and its versions 1.1 and Flan (Raffel et al., arXiv 1910.10683): relative positions in the first block."""
    return t5_around(fields, _t5_stack(fields, "encoder", fields.size("num_layers"), SOURCE, "e"))


def t5_around(fields: Fields, encoder: tuple[Component, ...]) -> Architecture:
    """T5 with an encoder: word embeddings, T5's decoder and the head."""
    hidden, vocab_size = fields.size("d_model"), fields.size("vocab_size")
    decoders = fields.size("num_decoder_layers", fields.size("num_layers"))
    tied = "shared" if fields.flag("tie_word_embeddings", True) else None
    return Architecture(
        fields.model_type,
        (
            Embedding("shared", vocab_size, hidden, words=True, reads=(), writes="e"),
            *encoder,
            Embedding("decoder.embed_tokens", vocab_size, hidden, tied="shared", reads=(), writes="x"),
            *_t5_stack(fields, "decoder", decoders, TOKENS, "x"),
            Linear("lm_head", hidden, vocab_size, tied=tied, role="head"),
        ),
        inputs="source and tokens",
        causal=False,
    )


def _t5_stack(fields: Fields, name: str, layers: int, rows: Rows, stream: str) -> tuple[Component, ...]:
    """Layers and their norm; UMT5's all have a table of positions, T5's the first one."""
    every = fields.model_type == "umt5"
    first, other = (_t5_layer(fields, rows, stream, table=table) for table in (True, every))
    listed = [("", first)] * layers if every else [("first", first), *[("", other)] * (layers - 1)]
    return blocks.stack(f"{name}.block", listed), side_norm(f"{name}.final_layer_norm", fields.size("d_model"), stream)


def _t5_layer(fields: Fields, rows: Rows, stream: str, *, table: bool) -> tuple[Component, ...]:
    """A layer of the encoder (stream "e") or of the decoder, which attends to the encoder, too."""
    hidden, heads, head_dim = (fields.size(each) for each in ("d_model", "num_heads", "d_kv"))
    decodes, buckets = stream == "x", fields.size("relative_attention_num_buckets", 32)
    positions = Embedding("relative_attention_bias", buckets, heads, reads=(), writes=f"{stream}_bias")
    own = attention("", hidden, heads, head_dim, _T5_QKVO, bias=_NO_BIAS, rows=rows, stream=stream, causal=decodes)
    inside = tuple(_with_bias(each, positions.writes) for each in own.children)
    cross = (
        side_norm("layer.1.layer_norm", hidden, stream),
        attention(
            *("layer.1.EncDecAttention", hidden, heads, head_dim, _T5_QKVO),
            bias=_NO_BIAS,
            keys=SOURCE,
            key_stream="e",
        ),
    )
    last = 2 if decodes else 1
    return (
        side_norm("layer.0.layer_norm", hidden, stream),
        Group("layer.0.SelfAttention", (positions, *inside) if table else inside),
        *(cross if decodes else ()),
        side_norm(f"layer.{last}.layer_norm", hidden, stream),
        t5_mlp(fields, last, rows, stream),
        *dropout(fields, "dropout_rate", 0.1, stream),
    )


def t5_mlp(fields: Fields, index: int, rows: Rows, stream: str) -> Group:
    """T5's MLP, gated or not, as the part of a layer with an index."""
    hidden, inner, name = fields.size("d_model"), fields.size("d_ff"), f"layer.{index}.DenseReluDense"
    if _t5_gated(fields):
        names = ("wi_0", "wi_1", "wo")
        return blocks.gated_mlp(hidden, inner, name=name, names=names, rows=rows, stream=stream)
    return blocks.plain_mlp(hidden, inner, name=name, names=("wi", "wo"), bias=False, rows=rows, stream=stream)


def _with_bias(part: Component, stream: str) -> Component:
    """Scores to which a bias is added that the first layer has looked up for all."""
    return replace(part, reads=(*part.reads, stream)) if isinstance(part, AttentionCore) else part


def mt5(fields: Fields) -> Architecture:
    """mT5 (Xue et al., arXiv 2010.11934): T5 1.1 for many languages."""
    return t5(_with_gate(fields))


def umt5(fields: Fields) -> Architecture:
    """UMT5 (Chung et al., arXiv 2304.09151): mT5 with relative positions of its own in every layer."""
    return t5(_with_gate(fields))


def _with_gate(fields: Fields) -> Fields:
    if "feed_forward_proj" in fields.values:
        return fields
    return Fields(fields.model_type, {**fields.values, "feed_forward_proj": "gated-gelu"})


def side_norm(name: str, features: int, stream: str, *, bias: bool = False) -> Norm:
    """Build a norm of the encoder's stream or the decoder's."""
    return Norm(name, features, bias=bias, reads=(stream,), writes=stream)


def _t5_gated(fields: Fields) -> bool:
    activation = fields.values.get("feed_forward_proj", "relu")
    if not isinstance(activation, str):
        raise fields.unusable("feed_forward_proj", "the name of an activation")
    return activation.startswith("gated-")


def bart(fields: Fields) -> Architecture:
    """BART (Lewis et al., arXiv 1910.13461): learned positions offset by two, norms after each part."""
    return _bart(fields, offset=_BART_POSITION_OFFSET, norm_first=False, embedding_norm=True)


def pegasus(fields: Fields) -> Architecture:
    """PEGASUS (Zhang et al., arXiv 1912.08777): sinusoidal positions, norms before each part."""
    return _bart(fields, offset=0, norm_first=True, embedding_norm=False)


def m2m_100(fields: Fields) -> Architecture:
    """M2M-100 and NLLB (Fan et al., arXiv 2010.11125): sinusoidal positions that are no parameters, norms first."""
    return _bart(fields, offset=None, norm_first=True, embedding_norm=False)


def marian(fields: Fields) -> Architecture:
    """Marian's translation models (Junczys-Dowmunt et al. 2018): sinusoidal positions, norms after each part."""
    if not fields.flag("share_encoder_decoder_embeddings", True):
        raise fields.unusable("share_encoder_decoder_embeddings", "true")
    return _bart(fields, offset=0, norm_first=False, embedding_norm=False)


def _bart(fields: Fields, *, offset: int | None, norm_first: bool, embedding_norm: bool) -> Architecture:
    fields.refuse_left_out("encoder_layerdrop", "decoder_layerdrop", by_default=fields.model_type == "m2m_100")
    hidden, vocab_size = fields.size("d_model"), fields.size("vocab_size")
    positions = fields.size("max_position_embeddings")
    tied = "model.shared" if fields.flag("tie_word_embeddings", True) else None

    def words(name: str, stream: str) -> Embedding:
        """Each side looks words up in the shared table or, untied, in one of its own."""
        path = f"model.{name}.embed_tokens"
        return Embedding(path, vocab_size, hidden, words=tied is None, tied=tied, reads=(), writes=stream)

    def side(name: str, rows: Rows, stream: str) -> tuple[Component, ...]:
        path = f"model.{name}"
        before = [side_norm(f"{path}.layernorm_embedding", hidden, stream, bias=True)] if embedding_norm else []
        after = [side_norm(f"{path}.layer_norm", hidden, stream, bias=True)] if norm_first else []
        table = Embedding(f"{path}.embed_positions", positions + (offset or 0), hidden, reads=(), writes=stream)
        return (
            *([] if offset is None else [table]),
            *before,
            _sided_layers(fields, name, rows, stream, norm_first=norm_first, key_bias=True),
            *after,
        )

    return Architecture(
        fields.model_type,
        (
            Embedding("model.shared", vocab_size, hidden, words=tied is not None, reads=(), writes="unread"),
            words("encoder", "e"),
            *side("encoder", SOURCE, "e"),
            words("decoder", "x"),
            *side("decoder", TOKENS, "x"),
            Linear("lm_head", hidden, vocab_size, tied=tied, role="head"),
        ),
        max_seq_len=None if offset is None else positions,
        inputs="source and tokens",
        causal=False,
    )


def _sided_layers(fields: Fields, name: str, rows: Rows, stream: str, *, norm_first: bool, key_bias: bool) -> Component:
    """The layers of one side; a decoder's have cross-attention to the source in between."""
    hidden, heads = fields.size("d_model"), fields.size(f"{name}_attention_heads")
    head_dim = blocks.split_heads(fields, hidden, heads)
    bias = (True, key_bias, True, True)
    decodes = name == "decoder"
    parts: list[tuple[str, Group]] = [
        (
            "self_attn_layer_norm",
            attention(
                "self_attn", hidden, heads, head_dim, _BART_QKVO, bias=bias, rows=rows, stream=stream, causal=decodes
            ),
        )
    ]
    if decodes:
        cross = attention(
            "encoder_attn", hidden, heads, head_dim, _BART_QKVO, bias=bias, keys=_encoded(fields), key_stream="e"
        )
        parts.append(("encoder_attn_layer_norm", cross))
    inner = fields.size(f"{name}_ffn_dim")
    parts.append(
        ("final_layer_norm", blocks.plain_mlp(hidden, inner, name="", names=("fc1", "fc2"), rows=rows, stream=stream))
    )
    layer: list[Component] = []
    for norm_name, part in parts:
        norm = side_norm(norm_name, hidden, stream, bias=True)
        layer += [norm, part] if norm_first else [part, norm]
    if norm_first:
        layer += dropout(fields, "dropout", 0.0 if fields.model_type == "whisper" else 0.1, stream)
    return blocks.stack(f"model.{name}.layers", [("", tuple(layer))] * fields.size(f"{name}_layers"))


def _encoded(fields: Fields) -> Rows:
    return Source(2) if fields.model_type == "whisper" else SOURCE


def whisper(fields: Fields) -> Architecture:
    """Whisper (Radford et al., arXiv 2212.04356): two convolutions over mel frames, the second with stride two.

    `source_len` of a batch is in mel frames, 3000 for 30 seconds; the encoder sees half as many positions.
    """
    fields.refuse_left_out("encoder_layerdrop", "decoder_layerdrop")
    hidden, vocab_size, mels = fields.size("d_model"), fields.size("vocab_size"), fields.size("num_mel_bins", 80)
    encoded, targets = fields.size("max_source_positions", 1500), fields.size("max_target_positions", 448)
    half = Source(2)
    tied = "model.decoder.embed_tokens" if fields.flag("tie_word_embeddings", True) else None
    return Architecture(
        fields.model_type,
        (
            replace(_conv("conv1", mels, hidden, Source(1), reads="frames"), opened=True),
            _conv("conv2", hidden, hidden, half, reads="e"),
            Embedding("model.encoder.embed_positions", encoded, hidden, reads=(), writes="e"),
            _sided_layers(fields, "encoder", half, "e", norm_first=True, key_bias=False),
            side_norm("model.encoder.layer_norm", hidden, "e", bias=True),
            Embedding("model.decoder.embed_tokens", vocab_size, hidden, words=True, reads=()),
            Embedding("model.decoder.embed_positions", targets, hidden, reads=()),
            _sided_layers(fields, "decoder", TOKENS, "x", norm_first=True, key_bias=False),
            side_norm("model.decoder.layer_norm", hidden, "x", bias=True),
            Linear("proj_out", hidden, vocab_size, tied=tied, role="head"),
        ),
        max_seq_len=targets,
        inputs="frames and tokens",
        causal=False,
        sound_frames=2 * encoded,
    )


def _conv(name: str, channels: int, out: int, rows: Rows, *, reads: str) -> Linear:
    """One of the convolutions over time that Whisper's encoder begins with."""
    return Linear(f"model.encoder.{name}", 3 * channels, out, True, None, rows, reads=(reads,), writes="e")

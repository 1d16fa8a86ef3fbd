"""Gemmas with their encoders of images and sounds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import TOKENS, Batch, PerImage, Rows
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import both_ways, joined, language_of
from flopwatch.model.families.config import Fields
from flopwatch.model.families.gemma_sounds import gemma3n_sounds, gemma4_sounds, linear, norm
from flopwatch.model.families.mobilenet import OUT, mobilenet_v5
from flopwatch.model.media import Grids, PaddedPatches
from flopwatch.model.resized import TellsPlaces
from flopwatch.model.row_blocks import Once

_TOWER = "model.vision_tower"


@dataclass(frozen=True)
class PoolingProduct(Leaf):
    """The average over squares of patches as Hugging Face's code takes it: by a matrix with a row for each square."""

    features: int
    square: int
    rows: Rows

    def forward_flops(self, batch: Batch) -> int:
        """Count 2 * squares * patches * features FLOPs for every image."""
        spans = self.rows.spans(batch)
        return sum(2 * count * (length // self.square) * length * self.features for length, count in spans)


def gemma4(fields: Fields) -> Architecture:
    """Gemma 4 (Google 2026): an encoder of images, in small models one of sounds, and the text model.

    In some models the tokens of an image see each other also forwards, in the layers with a window.
    """
    language = language_of(fields, "gemma4_text", only=("gemma4_text",))
    text, hears = _part(fields, "text_config"), fields.values.get("audio_config") is not None
    hidden = text.size("hidden_size", 2304)
    if fields.values.get("vision_config") is None:
        if hears:
            raise fields.unusable("vision_config", "an encoder of images beside that of sounds")
        return joined(fields, language, inputs="tokens")
    vision = _part(fields, "vision_config")
    rows = Grids(vision.size("patch_size", 16), vision.size("pooling_kernel_size", 3))
    by_kind = text.values.get("use_bidirectional_attention") == "vision"
    return joined(
        fields,
        both_ways(language, rows.tokens(), windows_alone=True) if by_kind else language,
        _images(vision, rows, hidden),
        gemma4_sounds(_part(fields, "audio_config"), hidden) if hears else (),
        inputs="filled grids, sounds and tokens" if hears else "grids and tokens",
        told=TellsPlaces(rows.patch, rows.merge, by_kind),
    )


def _part(fields: Fields, name: str) -> Fields:
    """The fields of a part, all of which the class has defaults for."""
    return Fields(f"{fields.model_type} {name}", fields.mapping(name))


def _images(vision: Fields, rows: Grids, hidden: int) -> tuple[Component, ...]:
    """Layers with four norms over patches of images that are all filled up; then an average over squares of them."""
    seen, inner = vision.size("hidden_size", 768), vision.size("intermediate_size", 3072)
    padded, square = PaddedPatches(rows), rows.merge**2
    product = PoolingProduct("pool", seen, square, padded, reads=("image",), writes="image") if square > 1 else None
    layer = (
        norm("input_layernorm", seen, "image"),
        _image_attention(vision, seen, padded),
        norm("post_attention_layernorm", seen, "image"),
        norm("pre_feedforward_layernorm", seen, "image"),
        blocks.gated_mlp(
            seen,
            inner,
            names=("gate_proj.linear", "up_proj.linear", "down_proj.linear"),
            rows=padded,
            stream="image",
        ),
        norm("post_feedforward_layernorm", seen, "image"),
    )
    places = 2 * vision.size("position_embedding_size", 10_240) * seen
    return (
        linear(f"{_TOWER}.patch_embedder.input_proj", 3 * rows.patch**2, seen, padded, "pixels", "image"),
        Vector(f"{_TOWER}.patch_embedder.position_embedding_table", places, bare=True, reads=(), writes="image"),
        blocks.stack(f"{_TOWER}.encoder.layers", [("", layer)] * vision.size("num_hidden_layers", 16)),
        Leaf("pool", reads=("image",), writes="image", reference=product),
        linear("model.embed_vision.embedding_projection", seen, hidden, rows.tokens(), "image", "x"),
    )


def _image_attention(vision: Fields, seen: int, rows: Rows) -> Group:
    heads, head_dim = vision.size("num_attention_heads", 12), vision.size("head_dim", 64)
    groups = vision.size("num_key_value_heads", 12)
    return Group(
        "self_attn",
        (
            linear("q_proj.linear", seen, heads * head_dim, rows, "image", "q"),
            linear("k_proj.linear", seen, groups * head_dim, rows, "image", "k"),
            linear("v_proj.linear", seen, groups * head_dim, rows, "image", "v"),
            *blocks.head_norms(head_dim),
            AttentionCore("core", heads, head_dim, head_dim, causal=False, rows=rows),
            linear("o_proj.linear", heads * head_dim, seen, rows, "o", "image"),
        ),
    )


def gemma3n(fields: Fields) -> Architecture:
    """Gemma 3n (Google 2025): MobileNet-V5 on images, a Conformer on sounds, and the text model.

    Both projectors run on all tokens, too, for those that mark where an image or a sound begins and ends.
    """
    language = language_of(fields, "gemma3n_text", only=("gemma3n_text",))
    vision, audio = _of_gemma3n(fields), _part(fields, "audio_config")
    hidden = _part(fields, "text_config").size("hidden_size", 2048)
    images = PerImage(fields.size("vision_soft_tokens_per_image", 256))
    tower, rows = gemma3n_sounds(audio)
    width, filling = audio.size("hidden_size", 1536), Once(1, rows)
    return joined(
        fields,
        language,
        (
            *_marks("vision", vision.size("vocab_size", 128), OUT, hidden),
            *_marks("audio", audio.size("vocab_size", 128), width, hidden),
        ),
        (*mobilenet_v5("model.vision_tower.timm_model"), *_handed_on("vision", "image", OUT, hidden, images)),
        (
            *tower,
            *_handed_on("audio", "sound", width, hidden, rows),
            # One row, with which sounds are filled up to the same number of tokens.
            _again("audio", "e", width, hidden, filling),
        ),
        inputs="images, sounds and tokens",
    )


def _of_gemma3n(fields: Fields) -> Fields:
    """The fields of the encoder of images, of which there is one size."""
    vision = _part(fields, "vision_config")
    name = "mobilenetv5_300m_enc"
    if vision.values.get("architecture", name) != name:
        raise vision.unusable("architecture", repr(name))
    if vision.size("hidden_size", OUT) != OUT:
        raise vision.unusable("hidden_size", f"{OUT}, as {name} gives,")
    vision.refuse("model_args", "timm builds another encoder")
    return vision


def _marks(kind: str, words: int, width: int, hidden: int) -> tuple[Component, ...]:
    """What tokens that mark images or sounds are, which the class works out for every token."""
    path = f"model.embed_{kind}"
    return (
        Embedding(f"{path}.embedding", words, width, reads=(), writes="e"),
        norm(f"{path}.hard_embedding_norm", width, "e"),
        linear(f"{path}.embedding_projection", width, hidden, TOKENS, "e", "x"),
    )


def _handed_on(kind: str, stream: str, width: int, hidden: int, rows: Rows) -> tuple[Component, ...]:
    return (
        norm(f"model.embed_{kind}.soft_embedding_norm", width, stream),
        _again(kind, stream, width, hidden, rows),
    )


def _again(kind: str, reads: str, width: int, hidden: int, rows: Rows) -> Component:
    """The projector on other rows."""
    return replace(linear(f"model.embed_{kind}.embedding_projection", width, hidden, rows, reads, "x"), again=True)

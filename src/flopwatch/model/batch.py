"""What goes into one forward pass, in whole numbers from shapes, and how many rows and pairs of it a part sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

FRAMES_PER_SECOND = 100  # of a log-mel spectrogram with steps of 10 ms (Radford et al., arXiv 2212.04356, section 2.2)
Span = tuple[int, int]
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """The input of one forward pass on one device: sequences (images, utterances) of equal size.

    Args:
        sequences: How many; zero is no work.
        seq_len: Tokens of each, padding included; the decoder's or the text's where there are several streams.
        source_len: Tokens or frames of each that an encoder reads.
        image_size: Height and width of each image in pixels; by default the config's.
        images: How many images there are; by default one for each sequence.
        grids: Frames, height and width in patches of each image or video, where their sizes differ.
        frames: Frames of each image where it is a video.
        patches: Patches that each image is filled up to, where all are filled up to the same number.
        clips: How many sounds there are, each of `source_len` frames; by default one for each sequence.
        sounds: Frames of each sound, where their lengths differ; `source_len` is then what they are filled up to.
        documents: Lengths of the documents that are packed into the sequences and do not see each other, in any order;
            empty where each sequence is one document.

    Raises:
        ValueError: If a size is negative, or documents do not fill the sequences.
    """

    sequences: int
    seq_len: int = 0
    source_len: int = 0
    image_size: tuple[int, int] | None = None
    images: int | None = None
    documents: tuple[int, ...] = ()
    grids: tuple[Grid, ...] = ()
    clips: int | None = None
    frames: int = 1
    sounds: tuple[int, ...] = ()
    patches: int = 0

    def __post_init__(self) -> None:
        sizes = (
            self.sequences,
            self.seq_len,
            self.source_len,
            *(self.image_size or ()),
            self.images or 0,
            self.clips or 0,
            self.patches,
            *self.documents,
            *chain.from_iterable(self.grids),
            *self.sounds,
        )
        if any(size < 0 for size in sizes):
            raise ValueError(f"expected a batch of zero or more tokens, got {self.sequences} x {self.seq_len}")
        if self.documents and sum(self.documents) != self.tokens:
            raise ValueError(f"expected documents that fill {self.tokens} tokens, got {sum(self.documents)} tokens")

    @property
    def tokens(self) -> int:
        """Tokens computed, padding included; an encoder's and a decoder's are both counted."""
        return self.sequences * (self.seq_len + self.source_len)

    @property
    def image_count(self) -> int:
        """Return the number of images in the batch."""
        if self.grids:
            return len(self.grids)
        return self.sequences if self.images is None else self.images

    @property
    def clip_count(self) -> int:
        """Return the number of sounds in the batch."""
        if self.sounds:
            return len(self.sounds)
        return self.sequences if self.clips is None else self.clips

    @property
    def empty(self) -> bool:
        """Return whether the batch holds no work."""
        return not self.sequences or not (self.seq_len or self.source_len or self.image_size)


def attended_pairs(
    seq_len: int,
    *,
    causal: bool,
    window: int | None = None,
    chunk: int | None = None,
    radius: int | None = None,
) -> int:
    """Number of (query, key) pairs that the attention mask of one sequence keeps.

    Full: T * T. Causal: T * (T + 1) / 2. Causal with a window of W keys, the query's own included (Hugging Face's
    `sliding_window`): the first W queries see 1, 2, ... W keys, each later one W. Causal in chunks of C: every chunk
    is a sequence of its own. To both sides within a radius: keys at most R positions away.
    `attended_pairs(5, causal=True, window=3)` is 1 + 2 + 3 + 3 + 3 = 12, with `chunk=3` it is 1 + 2 + 3 + 1 + 2 = 9,
    and `attended_pairs(5, causal=False, radius=1)` is 2 + 3 + 3 + 3 + 2 = 13.
    """
    if chunk is not None and chunk < seq_len:
        whole, rest = divmod(seq_len, chunk)
        return whole * attended_pairs(chunk, causal=causal, window=window) + attended_pairs(
            rest, causal=causal, window=window
        )
    if not causal:
        reach = seq_len if radius is None else min(radius, max(seq_len - 1, 0))
        return seq_len * seq_len if radius is None else seq_len * (2 * reach + 1) - reach * (reach + 1)
    reach = seq_len if window is None else min(window, seq_len)
    return reach * (reach + 1) // 2 + (seq_len - reach) * reach


class Rows(Protocol):
    """Which rows of a batch a part sees."""

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return the lengths of stretches that attend among themselves, and how often each occurs."""

    def count(self, batch: Batch) -> int:
        """Return the number of rows in a batch."""


@dataclass(frozen=True)
class Counted:
    """Rows that are counted by their spans."""

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return the lengths of stretches that attend among themselves, and how often each occurs."""
        raise NotImplementedError

    def count(self, batch: Batch) -> int:
        """Return the sum over the spans of a batch."""
        return sum(length * count for length, count in self.spans(batch))


@dataclass(frozen=True)
class Tokens(Counted):
    """The tokens of a decoder or of a text."""

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Documents where sequences are packed, else the sequences."""
        if batch.documents:
            return ((length, 1) for length in batch.documents)
        return ((batch.seq_len, batch.sequences),)


@dataclass(frozen=True)
class Lengthened(Counted):
    """Tokens plus a fixed number at every sequence's end, as a convolution padded on both sides computes."""

    by: int

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sequence, packed or not."""
        return ((batch.seq_len + self.by, batch.sequences),)


@dataclass(frozen=True)
class Chunks(Counted):
    """One row for every chunk of tokens, the last one filled up, and `extra` more for each sequence."""

    size: int
    extra: int = 0

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sequence, packed or not."""
        return ((-(-batch.seq_len // self.size) + self.extra, batch.sequences),)


@dataclass(frozen=True)
class Source(Counted):
    """What an encoder reads; `stride` frames become one row, the last row may hold fewer."""

    stride: int = 1

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sequence."""
        return ((-(-batch.source_len // self.stride), batch.sequences),)


@dataclass(frozen=True)
class Sequences(Counted):
    """So many rows for each sequence, however long it is: a class token, a pooled state."""

    each: int = 1

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sequence."""
        return ((self.each, batch.sequences),)


Convolution = tuple[int, int, int]


@dataclass(frozen=True)
class Pixels(Counted):
    """The positions of an image after some convolutions.

    Args:
        image_size: Height and width where the batch does not say.
        steps: (kernel, stride, padding) of each convolution or pooling before; sizes are rounded down.
        extra: Tokens beside the positions: class, distillation and register tokens.
        window: Side of the square windows that attend among themselves; the map is padded to a multiple of it.
    """

    image_size: tuple[int, int]
    steps: tuple[Convolution, ...] = ()
    extra: int = 0
    window: int | None = None

    def after(self, *steps: Convolution) -> Pixels:
        """Return the positions after further convolutions."""
        return replace(self, steps=(*self.steps, *steps))

    def grid(self, batch: Batch) -> tuple[int, int]:
        """Return height and width in positions."""
        height, width = batch.image_size or self.image_size
        for kernel, stride, padding in self.steps:
            height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        return height, width

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per image, or per window of it."""
        height, width = self.grid(batch)
        if self.window is None:
            return ((height * width + self.extra, batch.image_count),)
        side = min(self.window, height, width)
        windows = -(-height // side) * -(-width // side)
        return ((side * side, windows * batch.image_count),)


@dataclass(frozen=True)
class PerImage(Counted):
    """A fixed number of rows per image, whatever its size."""

    each: int = 1

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per image."""
        return ((self.each, batch.image_count),)


TOKENS = Tokens()
SOURCE = Source()
PER_SEQUENCE = Sequences()

"""Images as processors resize, fill up and cut them: what a batch's values tell of them, and what is planned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flopwatch.model.batch import Batch, Counted, Grid, Rows, Span

PLACES = ("image_position_ids", "video_position_ids")
TOKEN_KINDS = "mm_token_type_ids"
TILE_MASK = "image_attention_mask"


@dataclass(frozen=True)
class OfTiles(Counted):
    """Rows of the tiles that images are cut into, where a batch's grids are those of the images."""

    rows: Rows

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return the spans of all tiles."""
        return self.rows.spans(replace(batch, grids=())) if batch.grids else ()


@dataclass(frozen=True)
class Tiled(Counted):
    """Tokens of an image by the grid of its tiles, each row with one more, then one, then those of the whole image.

    Args:
        across: Tokens a side that a tile, and the whole image, has.
    """

    across: int

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per image."""
        whole = 1 + self.across * (self.across + 1)
        return [(height * (width + 1) + whole, 1) for _, height, width in batch.grids]


@dataclass(frozen=True)
class TellsPlaces:
    """Column and row of the last patch of every image and frame, which are filled up with patches at no place.

    Args:
        patch: Side of a patch in pixels.
        pool: Patches a side that become one token of the text.
        by_kind: Whether the tokens of an image see each other forwards, where the batch says which they are.
    """

    patch: int
    pool: int
    by_kind: bool = False
    names: tuple[str, ...] = (*PLACES, TOKEN_KINDS)

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch | None:
        """Return the batch with its grids, without images where none are named."""
        grids = tuple((1, row + 1, column + 1) for name in PLACES for column, row in values.get(name, ()))
        if not grids:
            return replace(batch, images=0)
        unsaid = self.by_kind and TOKEN_KINDS not in values
        return None if unsaid else replace(batch, grids=grids, images=None)

    def planned(self, batch: Batch) -> Batch:
        """Resize images as Gemma 4's processor does: at most 280 tokens for one, 70 for a frame of a video."""
        if batch.grids or batch.image_size is None or not batch.image_count:
            return batch
        tokens = 280 if batch.frames == 1 else 70
        grid = (1, *self._fitted(*batch.image_size, tokens))
        return replace(batch, grids=(grid,) * (batch.image_count * batch.frames), patches=tokens * self.pool**2)

    def _fitted(self, height: int, width: int, tokens: int) -> tuple[int, int]:
        """The largest grid of so many tokens at most in the image's proportions."""
        side = self.patch * self.pool
        factor = math.sqrt(tokens * side**2 / (height * width))
        rows, columns = (math.floor(factor * each / side) for each in (height, width))
        if not rows:
            rows, columns = 1, min(width // height, tokens)
        elif not columns:
            rows, columns = min(height // width, tokens), 1
        return rows * self.pool, columns * self.pool


@dataclass(frozen=True)
class TellsUseful:
    """How many tokens of its tiles hold each image: of its mask, the sum of every second row of every tile.

    Args:
        side: Side of a tile in pixels.
        patch: Side of a patch in pixels, of which two a side become one token.
        most: Tiles that an image is cut into at most.
    """

    side: int
    patch: int
    most: int = 36
    names: tuple[str, ...] = ("image_sizes", TILE_MASK)

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch | None:
        """Return the batch with the grid of each image's tokens."""
        if not batch.images:
            return replace(batch, images=0)
        sizes, masks = (values.get(name) for name in self.names)
        if sizes is None or masks is None:
            return None
        return replace(batch, grids=tuple(self._useful(*each) for each in zip(sizes, masks, strict=True)))

    def _useful(self, size: Sequence[int], tiles: Sequence[Sequence[float]]) -> Grid:
        """Rows of the tiles at the left that hold anything, and what the first row holds; the whole image is first."""
        down, across = (each // self.side for each in size)
        height = sum(row > 0 for number in range(down) for row in tiles[1 + number * across])
        return 1, height, int(sum(tile[0] for tile in tiles[1 : 1 + across]))

    def planned(self, batch: Batch) -> Batch:
        """Resize and cut images as its processor does, with the whole image as one more tile."""
        if batch.grids or batch.image_size is None or not batch.image_count:
            return batch
        height, width = batch.image_size
        down, across = self._tiles(height, width)
        scale = min(down * self.side / height, across * self.side / width)
        kept = zip((height, width), (down, across), strict=True)
        rows, columns = (self._tokens(each, count, scale) for each, count in kept)
        tiles, square = batch.image_count * (down * across + 1), (self.side, self.side)
        return replace(batch, grids=((1, rows, columns),) * batch.image_count, images=tiles, image_size=square)

    def _tiles(self, height: int, width: int) -> tuple[int, int]:
        """Tiles down and across: as many as cover the image, or those of the nearest proportions."""
        down, across = -(-height // self.side), -(-width // self.side)
        if down * across <= self.most:
            return down, across
        numbers = range(1, self.most + 1)
        fitting = ((x, y) for x in numbers for y in numbers if x * y <= self.most)
        best, nearest = (1, 1), math.inf
        for x, y in sorted(fitting, key=math.prod):
            off = abs(width / height - x / y)
            large = height * width > self.side**2 * x * y / 2
            if off < nearest or (off == nearest and large):
                best, nearest = (x, y), off
        return best[1], best[0]

    def _tokens(self, pixels: int, tiles: int, scale: float) -> int:
        """Tokens along one side: every second patch of each tile that is no border."""
        each = self.side // self.patch
        border = (tiles * self.side - int(pixels * scale)) // self.patch
        patches = tiles * each - border
        return sum(-(-min(max(patches - start, 0), each) // 2) for start in range(0, tiles * each, each))

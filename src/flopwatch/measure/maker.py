"""Tensors of a batch for a class with a layout of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from flopwatch.errors import ArgumentError
from flopwatch.measure.layouts import image_size_of, vision_of
from flopwatch.model.batch import Batch, Grid
from flopwatch.model.media import Grids


class Maker:
    """Tensors of a batch for a model: ones without values, whole numbers with some."""

    def __init__(self, model: Any, batch: Batch, device: torch.device) -> None:
        self.model, self.config, self.batch, self._device = model, model.config, batch, device
        self.sequences, self.images, self.clips = batch.sequences, batch.image_count, batch.clip_count

    def ones(self, *shape: int) -> torch.Tensor:
        """Floating point numbers."""
        return torch.ones(*shape, device=self._device)

    def ids(self, *shape: int, value: int = 2) -> torch.Tensor:
        """Whole numbers."""
        return torch.full(shape, value, dtype=torch.long)

    @property
    def length(self) -> int:
        """Tokens per sequence."""
        return _needed(self.batch.seq_len, "--seq-len, the tokens per sequence")

    @property
    def source(self) -> int:
        """Tokens, frames or samples that an encoder reads."""
        return _needed(self.batch.source_len, "--source-len, what its encoder reads of each")

    @property
    def words(self) -> torch.Tensor:
        """Token ids."""
        return self.ids(self.sequences, self.length)

    def words_with(self, token: int, each: int) -> torch.Tensor:
        """Token ids with `each` places in a row for every image, of which a sequence has as many as any other.

        Raises:
            ArgumentError: If they do not fit.
        """
        places = each * -(-self.images // self.sequences)
        if places >= self.length:
            raise ArgumentError(
                f"its images stand for {places} tokens of a sequence; expected a longer --seq-len, got {self.length}"
            )
        words = self.words
        words[:, 1 : 1 + places] = token
        return words

    def pixels(self, size: tuple[int, int] | None = None, *several: int) -> torch.Tensor:
        """Images, or `several` of them in a row for each, in the size of the batch or the config's."""
        height, width = self.batch.image_size or size or image_size_of(vision_of(self.model))
        return self.ones(self.images, *several, 3, height, width)

    def grids(self, config: Any) -> tuple[Grid, ...]:
        """The grid of every image in patches, whole tokens of the text."""
        size = self.batch.image_size or image_size_of(config)
        merge = getattr(config, "spatial_merge_size", None) or 1
        return Grids(config.patch_size, merge).of(replace(self.batch, image_size=size))

    def patches(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches of all images one after the other, with the grid of each."""
        config = vision_of(self.model)
        grids = self.grids(config)
        values = 3 * config.patch_size**2
        return self.ones(sum(t * h * w for t, h, w in grids), values), torch.tensor(grids, dtype=torch.long)


def _needed(amount: int, what: str) -> int:
    if not amount:
        raise ArgumentError(f"expected {what}, got none")
    return amount


class Places:
    """Places for images and sounds in sequences of words; a word stands between any two of them."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.ids = ids
        self.taken = 0

    def put(self, token: int, blocks: list[int]) -> None:
        """Spread blocks of a token over the sequences, in order.

        Raises:
            ArgumentError: If they do not fit.
        """
        sequences, length = self.ids.shape
        each = -(-len(blocks) // sequences)
        shares = [blocks[row * each : (row + 1) * each] for row in range(sequences)]
        end = self.taken + max(sum(share) + len(share) for share in shares)
        if end > length:
            raise ArgumentError(
                f"its images or sounds stand for up to {end} tokens of a sequence; expected a longer --seq-len,"
                f" got {length}"
            )
        for row, share in enumerate(shares):
            at = self.taken
            for block in share:
                self.ids[row, at + 1 : at + 1 + block] = token
                at += 1 + block
        self.taken = end

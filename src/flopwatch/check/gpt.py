"""A model of GPT-2's shape, what its training step costs by hand, and what torch's own counter says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
_LEAST_FREE_BYTES = 12e9  # what training GPT-2's smallest size takes, and some


@dataclass(frozen=True)
class Shape:
    """The sizes of a model and of its batch."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    tokens: int
    sequences: int

    @property
    def config(self) -> Mapping[str, Any]:
        """A config like Hugging Face's."""
        return {
            "model_type": "gpt2",
            "vocab_size": self.vocabulary,
            "n_positions": self.tokens,
            "n_embd": self.width,
            "n_layer": self.layers,
            "n_head": self.heads,
        }

    @property
    def training_flops(self) -> int:
        """FLOPs of a training step by hand.

        Per token and layer 4 d^2 multiply-adds for query, key, value and output, 8 d^2 for the MLP, d V for the head;
        per pair of tokens that the mask keeps d for the scores and d for the values. A multiply-add is 2 FLOPs, and
        the backward pass twice the forward.
        """
        per_token = self.layers * 12 * self.width**2 + self.width * self.vocabulary
        pairs = self.tokens * (self.tokens + 1) // 2
        return 3 * 2 * self.sequences * (self.tokens * per_token + self.layers * pairs * 2 * self.width)

    @property
    def masked_flops(self) -> int:
        """FLOPs of the pairs that the causal mask leaves out, in forward and backward."""
        pairs = self.tokens * (self.tokens - 1) // 2
        return 3 * 2 * self.sequences * self.layers * pairs * 2 * self.width


SMALL = Shape(layers=2, width=128, heads=4, vocabulary=512, tokens=128, sequences=4)
GPT2 = Shape(layers=12, width=768, heads=12, vocabulary=50304, tokens=1024, sequences=4)


def shape_for(device: torch.device) -> Shape:
    """GPT-2's smallest size where a GPU has room for it, else one that a CPU trains in milliseconds."""
    if device.type != "cuda":
        return SMALL
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device)  # by earlier checks, and free for this one
    return GPT2 if free + held >= _LEAST_FREE_BYTES else SMALL


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention by whatever kernel PyTorch picks."""
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def by_products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention in plain products, which count all pairs."""
    length = query.shape[-2]
    hidden = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(hidden, float("-inf"))
    mixed: torch.Tensor = scores.softmax(-1) @ value
    return mixed


class Block(nn.Module):
    """Attention and an MLP."""

    def __init__(self, shape: Shape, attend: Attend) -> None:
        super().__init__()
        width = shape.width
        self.heads, self.attend = shape.heads, attend
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the next hidden states."""
        batch, length, width = x.shape
        split = self.qkv(self.ln_1(x)).split(width, dim=-1)
        query, key, value = (each.view(batch, length, self.heads, -1).transpose(1, 2) for each in split)
        mixed = self.attend(query, key, value).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        hidden: torch.Tensor = x + self.down(functional.gelu(self.up(self.ln_2(x))))
        return hidden


class Net(nn.Module):
    """The network: tokens to the loss of the next one.

    Args:
        shape: Its sizes.
        attend: Causal attention.
    """

    def __init__(self, shape: Shape, attend: Attend = fused) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(shape.vocabulary, shape.width), nn.Embedding(shape.tokens, shape.width)
        self.blocks = nn.ModuleList(Block(shape, attend) for _ in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the mean loss; every position predicts its own token, which costs what predicting the next does."""
        x = self.wte(tokens) + self.wpe.weight
        for block in self.blocks:
            x = block(x)
        logits = self.lm_head(self.ln_f(x)).flatten(0, 1)
        return functional.cross_entropy(logits, tokens.flatten())


def tokens_of(shape: Shape, count: int = 1) -> torch.Tensor:
    """Token ids for some batches, the same every time: (count * sequences, tokens)."""
    rows = torch.arange(count * shape.sequences).unsqueeze(1)
    return (rows * 7 + torch.arange(shape.tokens) * 13) % shape.vocabulary


def counted_by_torch(shape: Shape) -> int:
    """FLOPs of a training step by torch's own counter without the masked pairs; on the meta device, which runs nothing.

    Attention is in plain products there, all of whose pairs it counts.
    """
    with torch.device("meta"):
        net = Net(shape, by_products)
        tokens = torch.zeros(shape.sequences, shape.tokens, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        net(tokens).backward()
    return int(counter.get_total_flops()) - shape.masked_flops

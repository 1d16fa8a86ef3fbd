"""DiT has no class in transformers; its authors' architecture (arXiv 2212.09748), written down here, is the judge."""

import pytest
import torch
from torch import nn

from flopwatch.measure import measure
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.conventions import forward_flops
from flopwatch.model.families import architecture_of

SMALL = {
    "hidden_size": 48,
    "depth": 3,
    "num_heads": 4,
    "patch_size": 2,
    "in_channels": 4,
    "input_size": 8,
    "num_classes": 10,
}
SIZES = {
    # Table 1 and 4 of the paper: parameters in millions and Gflops (multiply-adds) at 256 x 256, 32 x 32 latents.
    ("S", 2): ({"depth": 12, "hidden_size": 384, "num_heads": 6}, 33, 6.06),
    ("B", 2): ({"depth": 12, "hidden_size": 768, "num_heads": 12}, 130, 23.01),
    ("L", 2): ({"depth": 24, "hidden_size": 1024, "num_heads": 16}, 458, 80.71),
    ("XL", 2): ({"depth": 28, "hidden_size": 1152, "num_heads": 16}, 675, 118.64),
    ("XL", 8): ({"depth": 28, "hidden_size": 1152, "num_heads": 16}, 676, 7.39),
}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, c):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, -1)
        h = x * (1 + scale1) + shift1
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.qkv(h).chunk(3, -1))
        attended = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        x = x + gate1 * self.proj(attended.transpose(1, 2).flatten(2))
        return x + gate2 * self.mlp(x * (1 + scale2) + shift2)


class DiT(nn.Module):
    def __init__(self, hidden_size, depth, num_heads, patch_size, in_channels, input_size, num_classes):
        super().__init__()
        self.patches = nn.Conv2d(in_channels, hidden_size, patch_size, patch_size)
        self.time = nn.Sequential(nn.Linear(256, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
        self.classes = nn.Embedding(num_classes + 1, hidden_size)
        self.blocks = nn.ModuleList(Block(hidden_size, num_heads) for _ in range(depth))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))
        self.last = nn.Linear(hidden_size, patch_size**2 * 2 * in_channels)

    def forward(self, x, t, y):
        x = self.patches(x).flatten(2).transpose(1, 2)
        c = self.time(t) + self.classes(y)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, -1)
        return self.last(x * (1 + scale) + shift)


@pytest.mark.parametrize("sequences", [2, 3])
def test_dit_equals_the_counter_to_the_integer(sequences):
    model = DiT(**SMALL)
    architecture = architecture_of({"model_type": "dit", **SMALL})
    assert architecture.parameters() == sum(each.numel() for each in model.parameters())
    inputs = torch.zeros(sequences, 4, 8, 8), torch.zeros(sequences, 256), torch.zeros(sequences, dtype=torch.long)
    measured, batch = measure(model, *inputs), Batch(sequences)
    assert measured.forward_flops == architecture.forward_flops(batch)
    assert measured.training_flops == training_flops(architecture, batch)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_papers_table_is_in_multiply_adds(size):
    fields, parameters, gmacs = SIZES[size]
    architecture = architecture_of({"model_type": "dit", "patch_size": size[1], **fields})
    assert round(architecture.parameters() / 1e6) == parameters
    assert forward_flops(architecture, Batch(1), "macs") / 1e9 == pytest.approx(gmacs, rel=0.001)

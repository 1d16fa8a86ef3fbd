"""NeoBERT, whose code is not in transformers, against a module of the same parts written for this test."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import ConfigError
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of

NEOBERT = {"model_type": "neobert", "architectures": ["NeoBERTLMHead"], "vocab_size": 90, "hidden_size": 48}
NEOBERT |= {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 100, "max_length": 64}


class Layer(nn.Module):
    """Attention of four heads, and an MLP of 72: two thirds of 100 are 66, the next multiple of eight is 72."""

    def __init__(self):
        super().__init__()
        self.qkv, self.wo = nn.Linear(48, 144, bias=False), nn.Linear(48, 48, bias=False)
        self.attention_norm, self.ffn_norm = nn.RMSNorm(48), nn.RMSNorm(48)
        self.ffn = nn.ModuleDict({"w12": nn.Linear(48, 144, bias=False), "w3": nn.Linear(72, 48, bias=False)})

    def forward(self, x):
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, 4, 12)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2)).softmax(-1)
        x = x + self.wo((scores @ v).transpose(1, 2).flatten(2))
        gate, up = self.ffn["w12"](self.ffn_norm(x)).chunk(2, -1)
        return x + self.ffn["w3"](functional.silu(gate) * up)


class WithHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict(
            {
                "encoder": nn.Embedding(90, 48),
                "transformer_encoder": nn.ModuleList([Layer(), Layer()]),
                "layer_norm": nn.RMSNorm(48),
            }
        )
        self.decoder = nn.Linear(48, 90)

    def forward(self, ids):
        x = self.model["encoder"](ids)
        for layer in self.model["transformer_encoder"]:
            x = layer(x)
        return self.decoder(self.model["layer_norm"](x))


@pytest.mark.parametrize("length", [20, 33])
def test_what_runs_and_every_parameter_equal_the_closed_form(length):
    model, architecture = WithHead(), architecture_of(NEOBERT)
    named = {name: each.numel() for name, each in model.named_parameters()}
    ours = {path: leaf.parameters() for path, leaf in architecture.named_leaves() if leaf.parameters()}
    assert {f"{path}.weight" for path in ours} | {"decoder.bias"} == set(named)
    assert sum(ours.values()) == sum(named.values())
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, length, dtype=torch.long)).sum().backward()
    assert counter.get_total_flops() == training_flops(architecture, Batch(2, length))


def test_the_published_one_has_250_million_parameters():
    published = {"model_type": "neobert", "hidden_size": 768, "num_hidden_layers": 28, "num_attention_heads": 12}
    published |= {"intermediate_size": 3072, "vocab_size": 30522}
    # Two thirds of 3072 are 2048; two tables of 30,522 x 768, a bias, a norm. The paper says 250 million.
    by_hand = 28 * (4 * 768 * 768 + 3 * 768 * 2048 + 2 * 768) + 2 * 30522 * 768 + 30522 + 768
    assert architecture_of(published).parameters() == by_hand
    assert round(by_hand / 1e7) == 25


@pytest.mark.parametrize("change", [{"hidden_act": "gelu"}, {"rms_norm": False}, {"rope": False}])
def test_variants_of_its_code_are_refused(change):
    (name,) = change
    with pytest.raises(ConfigError, match=f"for '{name}'"):
        architecture_of({**NEOBERT, **change})

"""A small model measured without data, and torch's counter on a real pass of it on the CPU."""

import json

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.measure.huggingface import build, measured
from flopwatch.measure.inputs import inputs_of

CPU = torch.device("cpu")
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TEXT = {**BERT, "vocab_size": 120}
T5 = {"vocab_size": 120, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "pad_token_id": 0}


def both_counts(name, fields, batch):
    """Forward and all FLOPs as measured without data, and as torch's counter sees a real pass on the CPU."""
    config = transformers.AutoConfig.for_model(name, **fields)
    values = json.loads(config.to_json_string(use_diff=False))
    seen = measured(build({**values, "architectures": None}), batch, "full")
    kind = type(build({**values, "architectures": None}))
    real = kind._from_config(config, attn_implementation="eager").train()
    inputs = inputs_of(real, batch, CPU)
    with FlopCounterMode(display=False) as counter:
        out = real(**inputs)
        forward = counter.get_total_flops()
        tensors = [each for each in torch.utils._pytree.tree_leaves(out) if isinstance(each, torch.Tensor)]
        sum(each.float().sum() for each in tensors if each.requires_grad).backward()
    return (seen.forward_flops, seen.training_flops), (forward, counter.get_total_flops())

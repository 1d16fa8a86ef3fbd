"""Training FLOPs of every family by flopwatch and by its peers, against an independent count: right, wrong or failed.

    pip install calflops fvcore
    python tests/benchmarks/accuracy.py [--seq-len 64] [--only NAME ...]

The judge is torch's FlopCounterMode on a real forward and backward pass of the Hugging Face class without its blind
spots: attention and experts are plain matrix products; its formula for the gradients of convolutions, which takes each
for a dense one, is replaced; and triangular solves, for which it has none, are added. Every tool is used as its
documentation shows it, with the model as `from_config` makes it: Lightning's `measure_flops` on the meta device,
FlopCounterMode and fvcore on real tensors (fvcore counts multiply-adds of the forward pass: doubled), Hugging Face's
`floating_point_ops` (the Trainer's `total_flos`), calflops by its keyword inputs. Tools that count a forward pass alone
are held against the forward pass alone. All pairs of attention are counted, as the judge does; right is within 1%.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import statistics
import time
import types
import warnings

import lightning
import torch
import transformers
from lightning.fabric.utilities.throughput import measure_flops
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.measure import measure
from flopwatch.model.backward import training_flops
from flopwatch.model.families import architecture_of
from tests.model.families.families import FAMILIES
from tests.model.families.models import batch_of, build, config_of, inputs_of

RIGHT = 0.01


def total(output):
    """Something to differentiate: the sum of every floating-point tensor of an output."""
    tensors = [each for each in torch.utils._pytree.tree_leaves(output) if isinstance(each, torch.Tensor)]
    return sum(each.float().sum() for each in tensors if each.requires_grad)


def built(name, *, eager=False, device="cpu"):
    """The family's model as a user builds it, or in plain products."""
    config = config_of(name)
    config.use_cache = False
    if eager:
        for each in (config, getattr(config, "text_config", None)):
            if each is not None:
                each._experts_implementation = "eager"
        return build(name, config=config, device=device)
    return build(name, config=config, attention=None, device=device)


def tensors_of(name, batch):
    return {key: value for key, value in inputs_of(name, batch).items() if torch.is_tensor(value)}


def judge(name, batch):
    """FLOPs of a forward and of a forward and backward pass."""
    model, inputs = built(name, eager=True), inputs_of(name, batch)
    mapping = {
        torch.ops.aten.convolution_backward: gradients_of_convolution,
        torch.ops.aten.linalg_solve_triangular: triangular_solve,
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        loss = total(model(**inputs))
        forward = counter.get_total_flops()
        loss.backward()
    return forward, counter.get_total_flops()


def gradients_of_convolution(grad, inputs, weight, *rest, **named):
    """Each of the two gradients is as much work as the forward: a multiply-add per output and weight of one filter."""
    wanted = rest[-1][:2]
    return 2 * grad[0] * math.prod(grad[1:]) * math.prod(weight[1:]) * sum(wanted)


def triangular_solve(matrix, right_side, **named):
    """n^2 for each column (BLAS trsm)."""
    return math.prod(matrix[:-2]) * matrix[-1] ** 2 * right_side[-1]


def by_flopwatch_config(name, batch):
    return training_flops(architecture_of(config_of(name)).with_full_attention(), batch)


def by_flopwatch_measure(name, batch):
    measured = measure(built(name, device="meta"), **inputs_of(name, batch))
    if not measured.complete:
        raise ValueError(str(measured.uncounted))
    return measured.training_flops


def by_lightning(name, batch):
    model = built(name, device="meta")
    inputs = {key: value.to("meta") for key, value in tensors_of(name, batch).items()}
    return measure_flops(model, lambda: model(**inputs), total)


def by_flop_counter_mode(name, batch):
    model, inputs = built(name), inputs_of(name, batch)
    with FlopCounterMode(display=False) as counter:
        total(model(**inputs)).backward()
    return counter.get_total_flops()


def by_hugging_face(name, batch):
    trainer = types.SimpleNamespace(model=built(name))
    return transformers.Trainer.floating_point_ops(trainer, inputs_of(name, batch))


def by_calflops(name, batch):
    from calflops import calculate_flops

    with contextlib.redirect_stdout(io.StringIO()):
        flops, _, _ = calculate_flops(
            built(name), kwargs=tensors_of(name, batch), print_results=False, output_as_string=False
        )
    return flops


def by_fvcore(name, batch):
    from fvcore.nn import FlopCountAnalysis

    tensors = tensors_of(name, batch)

    class Positional(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = built(name)

        def forward(self, *values):
            return self.model(**dict(zip(tensors, values, strict=True)), return_dict=False)[0]

    analysis = FlopCountAnalysis(Positional(), tuple(tensors.values()))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return 2 * analysis.total()


# tool: (its count, whether it counts the backward pass)
TOOLS = {
    "flopwatch, config": (by_flopwatch_config, True),
    "flopwatch, measured": (by_flopwatch_measure, True),
    "FlopCounterMode": (by_flop_counter_mode, True),
    "Lightning measure_flops": (by_lightning, True),
    "HF total_flos": (by_hugging_face, True),
    "calflops": (by_calflops, False),
    "fvcore": (by_fvcore, False),
}


def outcome(count, expected, name, batch):
    """Relative error, or the class of what was raised, and seconds."""
    begin = time.perf_counter()
    try:
        counted = count(name, batch)
    except Exception as error:
        return type(error).__name__, time.perf_counter() - begin
    return counted / expected - 1, time.perf_counter() - begin


def cell(error):
    if isinstance(error, str):
        return error
    if error == 0:
        return "exact"
    return f"{error:+.2%}" if abs(error) <= RIGHT else f"**{error:+.1%}**"


def compare(names, seq_len):
    """Relative error or failure, and seconds, by tool, by family."""
    found = {}
    for name in names:
        batch = batch_of(name, seq_len)
        forward, both = judge(name, batch)
        found[name] = {
            tool: outcome(count, both if backward else forward, name, batch)
            for tool, (count, backward) in TOOLS.items()
        }
    return found


def summary(found):
    """One row for each tool: how many are right, wrong and failed, the errors, and the time."""
    yield "| tool | counts | exact | within 1% | wrong | failed | median error of the wrong | worst | median time |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for tool, (_, backward) in TOOLS.items():
        errors = [each[tool][0] for each in found.values()]
        numbers = [each for each in errors if not isinstance(each, str)]
        wrong = [abs(each) for each in numbers if abs(each) > RIGHT]
        seconds = statistics.median(each[tool][1] for each in found.values())
        cells = [
            tool,
            "training" if backward else "forward",
            sum(each == 0 for each in numbers),
            len(numbers) - len(wrong),
            len(wrong),
            len(errors) - len(numbers),
            f"{statistics.median(wrong):.0%}" if wrong else "",
            f"{max(numbers, key=abs):+.0%}" if wrong else "",
            f"{1000 * seconds:,.1f} ms",
        ]
        yield "| " + " | ".join(map(str, cells)) + " |"


def table(found):
    yield "| family | " + " | ".join(TOOLS) + " |"
    yield "|---|" + "---|" * len(TOOLS)
    for name, errors in found.items():
        yield f"| {name} | " + " | ".join(cell(errors[tool][0]) for tool in TOOLS) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seq-len", type=int, default=64)
    parser.add_argument("--only", nargs="+", default=list(FAMILIES), metavar="NAME")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    found = compare(arguments.only, arguments.seq_len)
    model_types = {FAMILIES[name][0] for name in found}
    print(f"torch {torch.__version__}, lightning {lightning.__version__}, transformers {transformers.__version__}")
    print(f"{len(found)} configs of {len(model_types)} model types, {arguments.seq_len} tokens\n")
    print("\n".join(summary(found)), "\n".join(table(found)), sep="\n\n")


if __name__ == "__main__":
    main()

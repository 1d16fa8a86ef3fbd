"""The peaks that flopwatch, Lightning, Composer and torchtitan know for the driver's names, as a Markdown table.

    python tests/benchmarks/peaks.py [FOLDER]

Lightning is asked in this environment. Composer's and torchtitan's functions are taken from their unpacked wheels below
FOLDER (`pip download --no-deps mosaicml torchtitan`, then unzip), without importing their packages, whose dependencies
need a GPU; without FOLDER they are left out.
"""

import ast
import sys
import types
import warnings
from pathlib import Path

import torch
from lightning_fabric.utilities.throughput import get_available_flops

from flopwatch.errors import UnknownDeviceError
from flopwatch.hardware.chips import all_chips, find_chip

# Names that a search for a part of the name takes for something else; each is in the driver's own table of names.
TRAPS = [
    "NVIDIA RTX A1000",
    "NVIDIA T400 4GB",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA H100XM-80C",
    "GRID A100X-40C",
    "NVIDIA A40-48Q",
    "NVIDIA RTX PRO 4000 Blackwell",
]
REFUSED = "n/a"


def names():
    """Every NVIDIA name of the table with the prefix that today's drivers give, then the traps."""
    known = [name for chip in all_chips() for name in chip.names if name.startswith(("NVIDIA", "Tesla", "Quadro"))]
    return [name for name in known if name != "NVIDIA T4"] + TRAPS


def dtype_of(name):
    """bf16, or fp16 where the chip has no bf16."""
    try:
        return "bf16" if "bf16" in find_chip(name).peaks else "fp16"
    except UnknownDeviceError:
        return "bf16"


def ours(name, dtype):
    try:
        return find_chip(name).peak_flops_per_second(dtype)
    except UnknownDeviceError:
        return None


def lightnings(name, dtype):
    """Lightning's answer, with torch told that the device has this name."""
    real, torch.cuda.get_device_name = torch.cuda.get_device_name, lambda device=None: name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_available_flops(torch.device("cuda", 0), {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype])
    finally:
        torch.cuda.get_device_name = real


def _definitions(path, wanted, namespace):
    """Run only these definitions of a file."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if _defines(node) & wanted]
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module(future + tree.body, []), str(path), "exec"), namespace)
    return namespace


def _defines(node):
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {getattr(node, "name", "")}


def composers(folder):
    path = next(folder.rglob("composer/callbacks/speed_monitor.py"))
    wanted = {"_HSERIES_SXM", "GPU_AVAILABLE_FLOPS", "get_gpu_flops_available"}
    cuda = types.SimpleNamespace(is_available=lambda: True)
    space = _definitions(path, wanted, {"torch": types.SimpleNamespace(cuda=cuda), "warnings": warnings})

    def answer(name, dtype):
        cuda.get_device_name = lambda: name
        state = types.SimpleNamespace(precision=types.SimpleNamespace(value=f"amp_{dtype}"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return space["get_gpu_flops_available"](state)

    return answer


def torchtitans(folder):
    path = next(folder.rglob("torchtitan/tools/utils.py"))

    def no_lspci(*arguments, **named):
        raise FileNotFoundError

    process = types.SimpleNamespace(run=no_lspci, PIPE=None)
    logger = types.SimpleNamespace(warning=lambda text: None)
    space = _definitions(path, {"get_peak_flops"}, {"subprocess": process, "logger": logger})
    return lambda name, dtype: space["get_peak_flops"](name)


def cell(value, right, name):
    """In TFLOP/s, a wrong one with its factor."""
    if not value:
        return REFUSED
    text = f"{value / 1e12:g}"
    if right is None:
        return f"**{text}** (no such peak)" if name in TRAPS else f"{text} (not confirmed)"
    return text if abs(value / right - 1) < 0.02 else f"**{text}** (x{value / right:.2f})"


def table(peers):
    """One row for every name; what is wrong by 2% or more is bold."""
    lines = [
        f"| driver's name | precision | flopwatch | {' | '.join(peers)} |",
        f"|---|---|{'---|' * (len(peers) + 1)}",
    ]
    for name in names():
        dtype = dtype_of(name)
        right = ours(name, dtype)
        answers = [cell(ask(name, dtype), right, name) for ask in peers.values()]
        lines.append(f"| {name} | {dtype} | {cell(right, right, name)} | {' | '.join(answers)} |")
    return lines


if __name__ == "__main__":
    peers = {"Lightning": lightnings}
    if len(sys.argv) > 1:
        peers |= {"Composer": composers(Path(sys.argv[1])), "torchtitan": torchtitans(Path(sys.argv[1]))}
    print("\n".join(table(peers)))

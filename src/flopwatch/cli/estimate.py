"""`flopwatch estimate`: what a config costs, before anything is run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from flopwatch import units
from flopwatch.cli.arguments import add_chips
from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import ArgumentError, FlopwatchError
from flopwatch.hardware.chips import DTYPES
from flopwatch.model.backward import Checkpointing
from flopwatch.model.conventions import CONVENTIONS, DESCRIPTIONS
from flopwatch.model.estimate import Estimate
from flopwatch.model.lora import ALL_LINEAR, ATTENTION
from flopwatch.report.estimating import estimate

_KEYWORDS = (
    *("seq_len", "batch", "source_len", "seconds", "image_size", "images", "frames"),
    *("attention", "convention", "checkpointing", "mtp", "lora_rank"),
    *("tokens", "samples", "gpu", "dtype", "count", "mfu", "usd_per_gpu_hour", "chips"),
)

_OF_A_GPU = ("mfu", "count", "usd_per_gpu_hour", "chips")


def add_estimate(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "configs",
        metavar="CONFIG",
        type=Path,
        nargs="+",
        help="a Hugging Face config.json or its folder; several give a table",
    )
    _add_batch(parser)
    _add_counting(parser)
    _add_run(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = examples(
        ("flopwatch estimate config.json --seq-len 8k", "one sequence: parameters, FLOPs, and which parts they are in"),
        (
            "flopwatch estimate config.json --seq-len 8k --tokens 15T --gpu h100-sxm5-80gb --count 1024",
            "a whole run: time and GPU-hours at 30, 40 and 50% MFU",
        ),
        ("flopwatch estimate config.json --seq-len 2k --tokens chinchilla", "20 tokens per parameter"),
        ("flopwatch estimate config.json --seq-len 2k --lora-rank 16", "LoRA on all linear layers"),
        ("flopwatch estimate small/ medium/ large/ --seq-len 2k", "a table of several models"),
    )
    parser.set_defaults(command=_estimate)


def _add_batch(parser: Parser) -> None:
    group = parser.add_argument_group("one batch")
    group.add_argument("--seq-len", metavar="N", help="tokens per sequence, 8k is 8,192 (not for image-only models)")
    group.add_argument("--source-len", metavar="N", help="tokens or mel frames that the encoder reads")
    group.add_argument("--seconds", metavar="S", type=float, help="length of each sound, instead of --source-len")
    group.add_argument("--image-size", metavar="H[xW]", help="image size in pixels (default: the config's)")
    group.add_argument("--images", metavar="N", help="images in the batch, 0 for none (default: one per sequence)")
    group.add_argument("--frames", default="1", metavar="N", help="frames of each image, which then is a video")
    group.add_argument("--batch", default="1", metavar="B", help="sequences or images (default 1)")


def _add_counting(parser: Parser) -> None:
    group = parser.add_argument_group("how it is counted")
    group.add_argument("--attention", choices=("causal", "full"), default="causal", help="which attention pairs count")
    conventions = "; ".join(f"{name}: {DESCRIPTIONS[name]}" for name in CONVENTIONS)
    group.add_argument("--convention", metavar="NAME", choices=CONVENTIONS, default="model", help=conventions)
    group.add_argument(
        "--checkpointing",
        metavar="KIND",
        choices=get_args(Checkpointing),
        default="none",
        help="activation checkpointing, for hardware FLOPs: none, reentrant or non-reentrant (PyTorch's default)",
    )
    group.add_argument(
        "--mtp",
        action="store_true",
        help="multi-token prediction layers train too (default: left out, as by the class)",
    )
    group.add_argument("--lora-rank", metavar="R", type=int, help="rank of LoRA adapters; all else is frozen")
    group.add_argument(
        "--lora-targets",
        metavar="LAYERS",
        help=f"{ALL_LINEAR} (the default: every linear layer but the head), {ATTENTION}, or names: q_proj,v_proj",
    )
    group.add_argument("--freeze", metavar="PATHS", help="parts that do not train, such as model.embed_tokens")


def _add_run(parser: Parser) -> None:
    group = parser.add_argument_group("a whole run")
    group.add_argument("--tokens", metavar="15T", help="tokens of the run, or chinchilla: 20 per parameter")
    group.add_argument("--samples", metavar="1.28M", help="sequences or images of the run, instead of tokens")
    group.add_argument(
        "--gpu", metavar="NAME", help="GPU as the driver names it ('NVIDIA H100 80GB HBM3'), or h100-sxm5-80gb"
    )
    group.add_argument("--count", metavar="N", help="number of GPUs (default 1)")
    add_chips(group)
    group.add_argument(
        "--dtype", metavar="TYPE", choices=DTYPES, default="bf16", help=f"{', '.join(DTYPES)} (default bf16)"
    )
    group.add_argument("--mfu", type=float, help="utilization to plan with (default: rows for 0.3, 0.4 and 0.5)")
    group.add_argument("--usd-per-gpu-hour", type=float, metavar="USD", help="price of a GPU-hour")


def _estimate(arguments: argparse.Namespace) -> None:
    from flopwatch.report.render import estimate as rendered
    from flopwatch.report.render.widths import columns

    keywords = _keywords(arguments)
    if len(arguments.configs) > 1:
        _estimate_several(arguments.configs, keywords, as_json=arguments.json)
        return
    result = _estimated(arguments.configs[0], keywords)
    text = rendered.render_json(result) if arguments.json else rendered.render_text(result, columns())
    print(text if arguments.json else units.printable(text, lines=True), end="")


def _estimated(config: Path, keywords: dict[str, Any]) -> Estimate:
    """The estimate of one config; errors name the option, not the argument of the function."""
    try:
        return estimate(config, **keywords)
    except ArgumentError as error:
        name, colon, rest = str(error).partition(": ")
        if colon and name in _KEYWORDS:
            raise ArgumentError(f"--{name.replace('_', '-')}: {rest}") from None
        raise


def _estimate_several(configs: list[Path], keywords: dict[str, Any], *, as_json: bool) -> None:
    """A table with a row per config; what cannot be counted is told at the end, and the rest is printed."""
    from flopwatch.report.render import estimate as rendered
    from flopwatch.report.render.widths import columns

    results: dict[str, Estimate] = {}
    failures: list[tuple[str, FlopwatchError]] = []
    for config, name in zip(configs, _short_names(configs), strict=True):
        result = _estimate_or_why_not(config, keywords)
        if isinstance(result, Estimate):
            results[name] = result
        else:
            failures.append((name, result))
    if results:
        text = rendered.render_json_table(results) if as_json else rendered.render_table(results, columns())
        print(text if as_json else units.printable(text, lines=True), end="", flush=True)
    if failures:
        name, why = failures[0]
        raise ArgumentError(f"{len(failures)} of {len(configs)} configs cannot be counted, first {name}: {why}")


def _estimate_or_why_not(config: Path, keywords: dict[str, Any]) -> Estimate | FlopwatchError:
    try:
        return _estimated(config, keywords)
    except FlopwatchError as error:
        return error


def _short_names(configs: list[Path]) -> list[str]:
    """What tells configs apart: the folder of a `config.json`, else the file's name; the path where these are equal."""
    names = [each.resolve().parent.name if each.name == "config.json" else each.stem for each in configs]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, configs, strict=True)]


def _keywords(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.lora_targets is not None and arguments.lora_rank is None:
        raise ArgumentError("expected --lora-rank with --lora-targets, such as --lora-rank 16")
    if arguments.gpu is None and any(getattr(arguments, name) is not None for name in _OF_A_GPU):
        raise ArgumentError(
            "expected --gpu with --mfu, --count, --usd-per-gpu-hour and --chips: the device they are for"
        )
    keywords = {name: getattr(arguments, name) for name in _KEYWORDS}
    targets = arguments.lora_targets or ALL_LINEAR
    keywords["lora_targets"] = targets if targets in (ALL_LINEAR, ATTENTION) else targets.split(",")
    keywords["freeze"] = [] if arguments.freeze is None else arguments.freeze.split(",")
    return keywords

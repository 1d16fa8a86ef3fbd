"""`flopwatch estimate`: what a config costs, before anything is run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

from flopwatch import units
from flopwatch.cli.arguments import add_chips
from flopwatch.errors import (
    ArgumentError,
    MeasurementError,
    QuantityError,
    UnknownModelError,
)
from flopwatch.hardware.chips import DTYPES
from flopwatch.hardware.user_chips import user_chips
from flopwatch.model.backward import Checkpointing
from flopwatch.model.batch import FRAMES_PER_SECOND, Batch
from flopwatch.model.conventions import CONVENTIONS, DESCRIPTIONS
from flopwatch.model.estimate import Estimate, Plan, estimate, of_a_run
from flopwatch.model.families import architecture_of
from flopwatch.units import parse_count


def add_estimate(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", metavar="CONFIG", type=Path, help="a Hugging Face config.json or its folder")
    parser.add_argument("--seq-len", metavar="N", help="tokens per sequence (not for image-only models)")
    parser.add_argument("--source-len", metavar="N", help="tokens or mel frames that the encoder reads")
    parser.add_argument("--image-size", metavar="H[xW]", help="image size in pixels (default: the config's)")
    parser.add_argument("--images", metavar="N", help="images in the batch (default: one per sequence)")
    parser.add_argument("--frames", default="1", metavar="N", help="frames of each image, which then is a video")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of each sound, instead of --source-len")
    parser.add_argument("--batch", default="1", metavar="B", help="sequences or images (default 1)")
    parser.add_argument("--attention", choices=("causal", "full"), default="causal", help="which attention pairs count")
    conventions = "; ".join(f"{name}: {DESCRIPTIONS[name]}" for name in CONVENTIONS)
    parser.add_argument("--convention", choices=CONVENTIONS, default="model", help=conventions)
    parser.add_argument(
        "--checkpointing",
        choices=get_args(Checkpointing),
        default="none",
        help="kind of activation checkpointing, for hardware FLOPs (PyTorch's default is non-reentrant)",
    )
    parser.add_argument("--tokens", metavar="15T", help="tokens of the whole run")
    parser.add_argument("--samples", metavar="1.28M", help="sequences or images of the whole run, instead of tokens")
    parser.add_argument(
        "--gpu", metavar="NAME", help=("GPU name as the driver reports it, such as 'NVIDIA H100 80GB HBM3'")
    )
    parser.add_argument("--count", metavar="N", help="number of GPUs (default 1)")
    add_chips(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="precision of the peak (default bf16)")
    parser.add_argument("--mfu", type=float, help="utilization to plan with, such as 0.4; required with --gpu")
    parser.add_argument("--usd-per-gpu-hour", type=float, metavar="USD", help="price of a GPU-hour")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_estimate)


def _estimate(arguments: argparse.Namespace) -> None:
    from flopwatch.report.render import estimate as rendered

    if arguments.gpu is not None and arguments.mfu is None:
        raise ArgumentError("expected --mfu with --gpu: the utilization to plan with; published runs reach 0.3 to 0.5")
    for_a_gpu = (arguments.mfu, arguments.usd_per_gpu_hour, arguments.count, arguments.chips)
    if arguments.gpu is None and any(each is not None for each in for_a_gpu):
        raise ArgumentError(
            "expected --gpu with --mfu, --count, --usd-per-gpu-hour and --chips: the device they are for"
        )
    result = _counted(arguments, _batch(arguments))
    page = rendered.render_json(result) if arguments.json else units.printable(rendered.render_text(result), lines=True)
    print(page, end="")


def _counted(arguments: argparse.Namespace, batch: Batch) -> Estimate:
    """From the closed form; where there is none, measured with transformers, if that is installed."""
    amount = {
        "tokens": _optional_count("--tokens", arguments.tokens),
        "samples": _optional_count("--samples", arguments.samples),
    }
    try:
        architecture = architecture_of(arguments.config)
    except UnknownModelError as unknown:
        if not unknown.measurable:
            raise
        from flopwatch.measure.huggingface import estimate_of

        try:
            one = estimate_of(
                arguments.config,
                batch,
                attention=arguments.attention,
                convention=arguments.convention,
                seconds=arguments.seconds,
            )
        except MeasurementError as error:
            raise MeasurementError(f"{unknown}; and it cannot be measured: {error}") from None
        return of_a_run(one, **amount, plan=_plan(arguments))
    if arguments.seconds is not None:
        batch = replace(batch, source_len=round(arguments.seconds * FRAMES_PER_SECOND))
    return estimate(
        architecture,
        batch,
        attention=arguments.attention,
        convention=arguments.convention,
        checkpointing=arguments.checkpointing,
        **amount,
        plan=_plan(arguments),
    )


def _batch(arguments: argparse.Namespace) -> Batch:
    return Batch(
        _count("--batch", arguments.batch),
        _optional_count("--seq-len", arguments.seq_len) or 0,
        _optional_count("--source-len", arguments.source_len) or 0,
        None if arguments.image_size is None else _image_size(arguments.image_size),
        _optional_count("--images", arguments.images),
        frames=_count("--frames", arguments.frames),
    )


def _image_size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    return _count("--image-size", height), _count("--image-size", width or height)


def _plan(arguments: argparse.Namespace) -> Plan | None:
    if arguments.gpu is None:
        return None
    count = _count("--count", arguments.count or "1")
    chips = user_chips(arguments.chips)
    return Plan(arguments.gpu, arguments.dtype, count, arguments.mfu, arguments.usd_per_gpu_hour, chips)


def _optional_count(flag: str, text: str | None) -> int | None:
    return None if text is None else _count(flag, text)


def _count(flag: str, text: str) -> int:
    try:
        return parse_count(text)
    except QuantityError as error:
        raise ArgumentError(f"{flag}: {error}") from None

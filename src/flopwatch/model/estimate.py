"""Estimate the FLOPs, time, GPU-hours and cost of a training run before it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from flopwatch import units
from flopwatch.errors import ArgumentError, ConfigError
from flopwatch.hardware.chips import Chip, Dtype, find_chip
from flopwatch.model import conventions
from flopwatch.model.architecture import SEES_BESIDE_TEXT, Architecture, AttentionConvention, ComponentRow, Inputs
from flopwatch.model.backward import Checkpointing, TrainingStep
from flopwatch.model.batch import FRAMES_PER_SECOND, Batch
from flopwatch.model.conventions import Convention
from flopwatch.model.lora import FineTuning, fine_tuning
from flopwatch.model.shape_advice import ShapeAdvice, shape_advice

Method = Literal["config", "measured"]
# What published runs reach at most: docs/hardware.md, and `report.published_mfu`.
SCENARIOS = (0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Plan:
    """The hardware that a run is planned on; `chips` are the user's.

    `mfu` is the utilization to plan with; without one there are scenarios of 30, 40 and 50%.
    """

    gpu: str
    dtype: Dtype
    count: int
    mfu: float | None = None
    usd_per_gpu_hour: float | None = None
    chips: tuple[Chip, ...] = ()


@dataclass(frozen=True)
class PlannedRun:
    """Time, GPU-hours and cost of the work on the planned hardware."""

    gpu: str
    dtype: Dtype
    count: int
    mfu: float
    peak_flops_per_second: float
    peak_source: str
    seconds: float
    gpu_hours: float
    usd: float | None


@dataclass(frozen=True)
class Estimate:
    """FLOPs of one batch and, on request, of a whole run.

    `exact_training_flops` stands beside `training_flops` so that a rule of thumb can be held against it.
    `hardware_flops` add what activation checkpointing recomputes. `tokens` or, of images, `samples` are those
    of the whole run; `notes` say what a reader should know of how it was counted. `planned` is for the MFU that was
    asked for, `scenarios` are for usual ones where none was. `is_masked` is whether the attention convention makes a
    difference, `trained_parameters` are those that get a gradient, `advice` is about sizes that cost speed.
    """

    model_type: str
    method: Method
    parameters: int
    active_parameters: int
    convention: Convention
    attention: AttentionConvention
    batch: Batch
    forward_flops: int
    training_flops: int
    exact_training_flops: int
    hardware_flops: int
    components: tuple[ComponentRow, ...]
    batch_tokens: int = 0
    checkpointing: Checkpointing = "none"
    tokens: int | None = None
    samples: int | None = None
    total_training_flops: int | None = None
    exact_total_training_flops: int | None = None
    planned: PlannedRun | None = None
    notes: tuple[str, ...] = ()
    scenarios: tuple[PlannedRun, ...] = ()
    is_masked: bool = True
    trained_parameters: int | None = None
    tuning: str = ""
    advice: tuple[ShapeAdvice, ...] = ()

    @property
    def training_flops_per_token(self) -> int | float | None:
        """Training FLOPs per token, `None` for models without tokens."""
        if not self.batch_tokens:
            return None
        flops, tokens = self.training_flops, self.batch_tokens
        return flops // tokens if flops % tokens == 0 else flops / tokens


def estimate(
    architecture: Architecture,
    batch: Batch,
    *,
    attention: AttentionConvention = "causal",
    convention: Convention = "model",
    checkpointing: Checkpointing = "none",
    tuning: FineTuning | None = None,
    tokens: int | None = None,
    samples: int | None = None,
    plan: Plan | None = None,
) -> Estimate:
    """Count one batch and, on request, a whole run, and the time that the planned hardware needs.

    Args:
        architecture: The model.
        batch: What goes into one forward pass.
        attention: "causal" for the pairs that masks keep, "full" for all.
        convention: "model" for the exact count, or a labelled convention of the field.
        checkpointing: How layers are checkpointed, for hardware FLOPs.
        tuning: What trains; everything by default.
        tokens: Tokens of the whole run.
        samples: Sequences or images of the whole run, instead of tokens.
        plan: Hardware; its time is for the whole run if it is given, else for one batch.

    Raises:
        ArgumentError: If there is nothing to compute, the sequence is longer than the model's learned positions, or the
            plan makes no sense.
        ConfigError: If the convention cannot count this model, or adapters and frozen parts.
        UnknownDeviceError: If the planned GPU has no known peak.
    """
    _refuse_unread(architecture, batch)
    _check(architecture, batch)
    batch = batch if architecture.told is None else architecture.told.planned(batch)
    batch = _filled_up(architecture, batch)
    _check_room(architecture, batch)
    tuned = tuning or fine_tuning(architecture)
    trainable, everything = tuned.trainable, tuned.trainable.everything
    if not everything and convention != "model":
        raise ConfigError(f"the {convention} convention takes every parameter as trained; count with 'model'")
    counted = architecture.counted_with(attention)
    step = TrainingStep(counted, trainable, checkpointing).flops(batch)
    exact, counts_reruns = convention == "model", convention in ("model", "full")
    training_flops = step.training if exact else conventions.training_flops(counted, batch, convention)
    rows = (*conventions.rows(counted, batch, convention), *_adapters(tuned, step.added))
    one = Estimate(
        model_type=architecture.model_type,
        method="config",
        parameters=architecture.parameters() + tuned.adapter_parameters,
        active_parameters=architecture.active_parameters() + tuned.adapter_parameters,
        convention=convention,
        attention=attention,
        batch=batch,
        forward_flops=sum(row.forward_flops for row in rows),
        training_flops=training_flops,
        exact_training_flops=step.training,
        hardware_flops=training_flops + step.recomputed * counts_reruns,
        components=rows,
        batch_tokens=architecture.tokens(batch),
        checkpointing=checkpointing,
        is_masked=architecture.forward_flops(batch) != architecture.with_full_attention().forward_flops(batch),
        trained_parameters=None if everything else tuned.trained_parameters,
        tuning=tuned.words,
        advice=shape_advice(counted, batch, "bf16" if plan is None else plan.dtype) if everything else (),
        notes=_text_alone(architecture, batch),
    )
    return of_a_run(one, tokens=tokens, samples=samples, plan=plan)


def _adapters(tuned: FineTuning, forward_flops: int) -> tuple[ComponentRow, ...]:
    added = tuned.adapter_parameters
    return (ComponentRow("adapters", added, forward_flops, added),) if added else ()


def _text_alone(architecture: Architecture, batch: Batch) -> tuple[str, ...]:
    """Say where a model that sees or hears is counted without an image or a sound."""
    seen = batch.grids or (batch.image_count and (batch.image_size or not architecture.sees_any_size))
    heard = "sounds" in architecture.inputs and batch.source_len and batch.clip_count
    if architecture.inputs == "grids, sounds and tokens" and not seen and not heard:
        return (
            "text alone: no image and no sound is counted; pass --image-size and --images, or --seconds of the sound of"
            " each sequence",
        )
    if architecture.inputs in SEES_BESIDE_TEXT and not seen and not heard:
        return (no_images(batch),)
    if architecture.inputs == "sounds and tokens" and not heard:
        return ("text alone: no sound is counted",)
    if architecture.inputs == "sounds in rows and tokens" and not heard:
        return ("text alone: no sound is counted; pass --seconds of the sound of each sequence",)
    return ()


def no_images(batch: Batch) -> str:
    """Say that text alone was counted, and how to count images where nobody asked for none."""
    asked = "" if batch.images == 0 else "; pass --image-size and --images, how many there are in the batch"
    return f"text alone: no image is counted{asked}"


def of_a_run(one: Estimate, *, tokens: int | None, samples: int | None, plan: Plan | None) -> Estimate:
    """The estimate of one batch, extended to a whole run and to planned hardware.

    Raises:
        ArgumentError: If the run is given in tokens of a model that has none, in tokens and samples, or the plan makes
            no sense.
        UnknownDeviceError: If the planned GPU has no known peak.
    """
    if tokens is not None and samples is not None:
        raise ArgumentError("expected the run in tokens or in samples, got both")
    if tokens is not None and not one.batch_tokens:
        raise ArgumentError(f"a {one.model_type} has no tokens; pass the run in samples")
    parts = one.batch_tokens if tokens is not None else one.batch.sequences
    amount = tokens if tokens is not None else samples

    def whole(flops: int) -> int | None:
        return None if amount is None else flops * amount // parts

    total = whole(one.training_flops)
    counted = one.training_flops if total is None else total
    flops = 2 * counted if one.convention == "macs" else counted
    plans = () if plan is None or plan.mfu is not None else tuple(replace(plan, mfu=mfu) for mfu in SCENARIOS)
    return replace(
        one,
        tokens=tokens,
        samples=samples,
        total_training_flops=total,
        exact_total_training_flops=whole(one.exact_training_flops),
        planned=None if plan is None or plan.mfu is None else planned_run(plan, flops),
        scenarios=tuple(planned_run(each, flops) for each in plans),
    )


def _refuse_unread(architecture: Architecture, batch: Batch) -> None:
    """Refuse what a model does not read: it would change FLOPs per token, or count as nothing in silence."""
    inputs = architecture.inputs
    sees = any(each in inputs for each in ("images", "grids"))
    given = {
        "seq_len": (batch.seq_len, "tokens" in inputs),
        "source_len": (batch.source_len, any(each in inputs for each in ("source", "frames", "sounds"))),
        "image_size": (batch.image_size, sees),
        "images": (batch.images, sees),
        "frames": (batch.frames > 1, sees),
    }
    for name, (amount, is_read) in given.items():
        if amount and not is_read:
            raise ArgumentError(f"{name}: a {architecture.model_type} reads {_words_of(inputs)}; leave it out")


def _words_of(inputs: Inputs) -> str:
    return inputs.replace("grids", "images").replace(" in rows", "").replace("filled ", "")


def _check(architecture: Architecture, batch: Batch) -> None:
    needs = architecture.inputs
    if needs == "images" and not batch.image_count:
        raise ArgumentError(f"a {architecture.model_type} reads images alone; expected at least one, got none")
    if not batch.sequences or ("tokens" in needs and not batch.seq_len):
        raise ArgumentError(
            f"expected a batch of at least one token, got {batch.sequences} x {batch.seq_len}: a"
            f" {architecture.model_type} reads {_words_of(needs)}, so pass --seq-len N, the tokens per sequence"
        )
    if batch.frames > 1 and "grids" not in needs:
        raise ArgumentError(f"a {architecture.model_type} reads no videos in one piece; pass each frame as an image")
    if architecture.sees_any_size and batch.images and not batch.image_size and not batch.grids:
        raise ArgumentError(f"expected the size of the {batch.images} images (--image-size), got none")
    if needs in ("source and tokens", "frames and tokens", "sounds") and not batch.source_len:
        what = "tokens that the encoder reads" if needs == "source and tokens" else "mel frames, 3000 for 30 seconds,"
        raise ArgumentError(f"expected the number of {what} for a {architecture.model_type} (--source-len), got none")
    if architecture.max_seq_len is not None and batch.seq_len > architecture.max_seq_len:
        raise ArgumentError(
            f"this {architecture.model_type} has {architecture.max_seq_len} learned positions, got sequences of"
            f" {batch.seq_len} tokens"
        )


def _filled_up(architecture: Architecture, batch: Batch) -> Batch:
    """The batch with sounds as long as the encoder takes them, whatever they are themselves.

    Raises:
        ArgumentError: If they are longer than that.
    """
    frames = architecture.sound_frames
    if frames is None or not batch.clip_count:
        return batch
    if batch.source_len > frames:
        raise ArgumentError(
            f"a {architecture.model_type} reads sounds of at most {frames:,} frames,"
            f" {frames / FRAMES_PER_SECOND:g} seconds, got {batch.source_len:,}; pass longer ones as several"
        )
    return replace(batch, source_len=frames)


def _check_room(architecture: Architecture, batch: Batch) -> None:
    taken, room = architecture.image_tokens(batch), batch.sequences * batch.seq_len
    if taken > room:
        raise ArgumentError(
            f"{_shown(architecture)} stand for {taken:,} tokens of the batch's text, which has {room:,}: expected a"
            f" longer --seq-len, {_fewer(architecture)}"
        )


def _shown(architecture: Architecture) -> str:
    return "images and sounds" if "sounds" in architecture.inputs else "images"


def _fewer(architecture: Architecture) -> str:
    sounds = ", shorter sounds" if "sounds" in architecture.inputs else ""
    return f"fewer --images{sounds}, or --images 0 for text alone"


def planned_run(plan: Plan, flops: int) -> PlannedRun:
    """Return time, GPU-hours and cost of an amount of FLOPs: flops / (count x peak x MFU).

    Raises:
        ArgumentError: If the MFU is not above 0 and at most 1, or there is no GPU, or the price is negative.
        UnknownDeviceError: If the GPU has no known peak in this precision.
    """
    if plan.mfu is None or not units.SMALLEST <= plan.mfu <= 1:
        got = "none" if plan.mfu is None else f"{plan.mfu:g}"
        raise ArgumentError(f"expected an MFU above 0 and at most 1, like 0.4, got {got}")
    if plan.count < 1:
        raise ArgumentError(f"expected at least one GPU, got a count of {plan.count}")
    if plan.usd_per_gpu_hour is not None and not 0 <= plan.usd_per_gpu_hour < units.LARGEST:
        raise ArgumentError(f"expected a price that is not negative and below 1e60, got {plan.usd_per_gpu_hour:g}")
    chip = find_chip(plan.gpu, plan.chips)
    peak = chip.peak_flops_per_second(plan.dtype)
    seconds = flops / (plan.count * peak * plan.mfu)
    gpu_hours = seconds * plan.count / units.SECONDS_PER_HOUR
    return PlannedRun(
        gpu=plan.gpu,
        dtype=plan.dtype,
        count=plan.count,
        mfu=plan.mfu,
        peak_flops_per_second=peak,
        peak_source=chip.source,
        seconds=seconds,
        gpu_hours=gpu_hours,
        usd=None if plan.usd_per_gpu_hour is None else gpu_hours * plan.usd_per_gpu_hour,
    )

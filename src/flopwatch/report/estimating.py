"""`flopwatch.estimate`: what a config costs, before anything is run; the command line calls it, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

from flopwatch.errors import ArgumentError, MeasurementError, QuantityError, UnknownModelError
from flopwatch.hardware.chips import DTYPES, Dtype
from flopwatch.hardware.short_names import driver_name
from flopwatch.hardware.user_chips import UserChips, user_chips
from flopwatch.model import estimate as counting
from flopwatch.model.architecture import Architecture, AttentionConvention
from flopwatch.model.backward import Checkpointing
from flopwatch.model.batch import FRAMES_PER_SECOND, Batch
from flopwatch.model.conventions import CONVENTIONS, Convention
from flopwatch.model.estimate import Estimate, Plan
from flopwatch.model.families import architecture_of
from flopwatch.model.lora import ALL_LINEAR, fine_tuning
from flopwatch.run.budget import CHINCHILLA_TOKENS_PER_PARAMETER
from flopwatch.units import number, parse_count, quoted

Amount = int | float | str
CHINCHILLA = "chinchilla"
# A context of "8k" is 8,192 tokens: lengths are told in powers of two, amounts of tokens in powers of ten.
_LENGTH_PREFIXES = {"": 1, "K": 2**10, "M": 2**20}
_CHOICES: dict[str, tuple[str, ...]] = {
    "attention": get_args(AttentionConvention),
    "convention": CONVENTIONS,
    "checkpointing": get_args(Checkpointing),
    "dtype": DTYPES,
}


def estimate(
    config: Any,
    *,
    seq_len: Amount | None = None,
    batch: Amount = 1,
    source_len: Amount | None = None,
    seconds: float | None = None,
    image_size: int | str | tuple[int, int] | None = None,
    images: Amount | None = None,
    frames: Amount = 1,
    attention: AttentionConvention = "causal",
    convention: Convention = "model",
    checkpointing: Checkpointing = "none",
    mtp: bool = False,
    lora_rank: Amount | None = None,
    lora_targets: str | Sequence[str] = ALL_LINEAR,
    freeze: str | Sequence[str] = (),
    tokens: Amount | None = None,
    samples: Amount | None = None,
    gpu: str | None = None,
    dtype: Dtype = "bf16",
    count: Amount | None = None,
    mfu: float | None = None,
    usd_per_gpu_hour: float | None = None,
    chips: UserChips = None,
) -> Estimate:
    """Estimate the FLOPs of a model and, on request, of a whole run with its time, GPU-hours and cost.

    Amounts are numbers or texts such as "15T"; of lengths "8k" is 8,192.

    Args:
        config: A Hugging Face config, a mapping, or a path to `config.json` or its folder.
        seq_len: Tokens per sequence; none for models that read images only.
        batch: Sequences or images of one batch.
        source_len: Tokens or mel frames that the encoder reads.
        seconds: Length of each sound, instead of `source_len`.
        image_size: Height and width in pixels, 448 or "800x600"; by default the config's.
        images: Images in the batch, 0 for text alone; by default one per sequence.
        frames: Frames of each image, which then is a video.
        attention: "causal" counts unmasked pairs only, "full" all pairs.
        convention: "model" for the exact count, or another one of `flopwatch.model.conventions`.
        checkpointing: Kind of activation checkpointing, for hardware FLOPs.
        mtp: Whether the config's multi-token prediction layers train; Hugging Face's classes leave them out.
        lora_rank: Rank of LoRA adapters; all other parameters are frozen then.
        lora_targets: "all-linear", "attention", or names of layers such as "q_proj".
        freeze: Paths of parts that do not train.
        tokens: Tokens of the whole run, or "chinchilla" for 20 per parameter (Hoffmann et al., arXiv 2203.15556).
        samples: Sequences or images of the whole run, instead of tokens.
        gpu: The driver's name of the GPU, or a key such as "h100-sxm5-80gb".
        dtype: Precision of the GPU's peak.
        count: Number of GPUs, 1 by default.
        mfu: Utilization to plan with, 0 to 1; without it `scenarios` has 0.3, 0.4 and 0.5.
        usd_per_gpu_hour: Price of one GPU for one hour.
        chips: Chips of your own, as for `FlopWatch`.

    Returns:
        The estimate: FLOPs are integers, times are in seconds.

    Raises:
        ArgumentError: If an argument cannot be used.
        ConfigError: If the config cannot be counted.
        MeasurementError: If the model has no closed form and cannot be measured.
        UnknownDeviceError: If the GPU is unknown, or its name is that of several.

    Example::

        flopwatch.estimate("config.json", seq_len=8192, tokens="15T", gpu="h100-sxm5-80gb", mfu=0.4).planned.usd
    """
    _refuse_other_words(attention=attention, convention=convention, checkpointing=checkpointing, dtype=dtype)
    of_a_gpu = (mfu, usd_per_gpu_hour, count, chips)
    if gpu is None and any(each is not None for each in of_a_gpu):
        raise ArgumentError("expected gpu with mfu, count, usd_per_gpu_hour and chips: the device they are for")
    own = user_chips(chips) if gpu is not None else ()
    plan = None
    if gpu is not None:
        devices = _whole("count", 1 if count is None else count)
        if not isinstance(gpu, str):
            raise ArgumentError(f"gpu: expected the driver's name of a GPU, got {quoted(gpu)}")
        price = _number("usd_per_gpu_hour", usd_per_gpu_hour)
        plan = Plan(driver_name(gpu, dtype, own), dtype, devices, _number("mfu", mfu), price, own)
    one_batch = Batch(
        _whole("batch", batch),
        0 if seq_len is None else _length("seq_len", seq_len),
        0 if source_len is None else _plain("source_len", source_len),
        None if image_size is None else _size(image_size),
        _none_or_more("images", images),
        frames=_whole("frames", frames),
    )
    length = _seconds(seconds, source_len)
    tuning = {
        "lora_rank": _optional("lora_rank", lora_rank),
        "lora_targets": lora_targets if isinstance(lora_targets, str) else _texts("lora_targets", lora_targets),
        "freeze": _texts("freeze", freeze),
        "checkpointing": checkpointing,
    }
    how = {"attention": attention, "convention": convention, "checkpointing": checkpointing, "plan": plan}
    one = _counted(config, mtp, one_batch, length, tuning, how)
    total = _tokens(tokens, one)
    return counting.of_a_run(one, tokens=total, samples=_optional("samples", samples), plan=plan)


def _counted(
    config: Any, mtp: bool, batch: Batch, seconds: float | None, tuning: dict[str, Any], how: dict[str, Any]
) -> Estimate:
    """From the closed form; where there is none, measured with transformers, if that is installed."""
    try:
        architecture = architecture_of(config, mtp=mtp)
    except UnknownModelError as unknown:
        if not unknown.measurable:
            raise
        if mtp:
            raise ArgumentError(f"mtp: {unknown}; prediction layers are counted in models with one only") from None
        if tuning["lora_rank"] is not None or tuning["freeze"]:
            raise ArgumentError(f"{unknown}; adapters and frozen parts are counted in models with one only") from None
        return _measured(config, batch, seconds, how, unknown)
    heard = batch if seconds is None else _heard(architecture, batch, seconds)
    return counting.estimate(architecture, heard, tuning=fine_tuning(architecture, **tuning), **how)


def _heard(architecture: Architecture, batch: Batch, seconds: float) -> Batch:
    """The batch with sounds of this length, as frames of a spectrogram."""
    if not any(each in architecture.inputs for each in ("frames", "sounds")):
        raise ArgumentError(f"seconds: a {architecture.model_type} hears no sounds")
    return replace(batch, source_len=round(seconds * architecture.frames_per_second))


def _measured(
    config: Any, batch: Batch, seconds: float | None, how: dict[str, Any], unknown: UnknownModelError
) -> Estimate:
    if batch.frames > 1:
        raise ArgumentError(f"frames: {unknown}; videos are counted in models with one only") from None
    try:
        from flopwatch.measure.huggingface import estimate_of

        return estimate_of(config, batch, attention=how["attention"], convention=how["convention"], seconds=seconds)
    except ImportError as missing:
        raise MeasurementError(f"{unknown}; and it cannot be measured: it needs {missing.name}") from None
    except MeasurementError as error:
        raise MeasurementError(f"{unknown}; and it cannot be measured: {error}") from None


def _tokens(tokens: Amount | None, one: Estimate) -> int | None:
    if isinstance(tokens, str) and tokens.lower() == CHINCHILLA:
        if one.trained_parameters is not None:
            raise ArgumentError("tokens: expected a number for a run that trains a part of the model, got 'chinchilla'")
        return CHINCHILLA_TOKENS_PER_PARAMETER * one.parameters
    return _optional("tokens", tokens)


def _seconds(seconds: float | None, source_len: Amount | None) -> float | None:
    if seconds is None:
        return None
    if source_len is not None:
        raise ArgumentError("expected the length of each sound in source_len or in seconds, got both")
    read = number(seconds)
    if read is None or read * FRAMES_PER_SECOND < 1:
        raise ArgumentError(f"seconds: expected a number of at least 0.01, one frame of sound, got {quoted(seconds)}")
    return read


def _refuse_other_words(**words: str) -> None:
    for name, word in words.items():
        if word not in _CHOICES[name]:
            raise ArgumentError(f"{name}: expected one of {', '.join(_CHOICES[name])}, got {quoted(word)}")


def _texts(name: str, texts: object) -> list[str]:
    """One text or several."""
    several = [texts] if isinstance(texts, str) else texts
    if not isinstance(several, (list, tuple)) or not all(isinstance(each, str) for each in several):
        raise ArgumentError(f"{name}: expected a text or a list of them, got {quoted(texts)}")
    return list(several)


def _number(name: str, value: object) -> float | None:
    read = None if value is None else number(value)
    if read is None and value is not None:
        raise ArgumentError(f"{name}: expected a number, got {quoted(value)}")
    return read


def _size(image_size: object) -> tuple[int, int]:
    """Height and width; of one number, both."""
    sides = image_size.lower().split("x") if isinstance(image_size, str) else image_size
    sides = [sides] if isinstance(sides, (int, float)) else sides
    if not isinstance(sides, (list, tuple)) or len(sides) not in (1, 2):
        raise ArgumentError(f"image_size: expected height and width in pixels, like 800x600, got {quoted(image_size)}")
    return _whole("image_size", sides[0]), _whole("image_size", sides[-1])


def _optional(name: str, amount: Amount | None) -> int | None:
    return None if amount is None else _whole(name, amount)


def _none_or_more(name: str, amount: Amount | None) -> int | None:
    none = amount in (0, "0") and not isinstance(amount, bool)
    return 0 if none else _optional(name, amount)


def _length(name: str, amount: Amount) -> int:
    if not isinstance(amount, str):
        return _whole(name, amount)
    try:
        return parse_count(amount, _LENGTH_PREFIXES)
    except QuantityError as error:
        raise ArgumentError(f"{name}: {error}") from None


def _plain(name: str, amount: Amount) -> int:
    """A number without a suffix: of frames "3k" would be 3,000, of tokens 3,072."""
    if isinstance(amount, str) and amount[-1:].isalpha():
        raise ArgumentError(f"{name}: expected a number without a suffix, such as 3000, got {quoted(amount)}")
    return _whole(name, amount)


def _whole(name: str, amount: Amount) -> int:
    """A positive whole number, whatever it came as.

    Raises:
        ArgumentError: If it is none.
    """
    if isinstance(amount, str):
        try:
            return parse_count(amount)
        except QuantityError as error:
            raise ArgumentError(f"{name}: {error}") from None
    read = number(amount)
    if read is None or read < 1 or amount != amount // 1:
        raise ArgumentError(f"{name}: expected a positive whole amount, got {quoted(amount)}")
    return int(amount)

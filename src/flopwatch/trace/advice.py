"""What to change, from the account of a trace: with evidence and what it gains at most; nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

from flopwatch import units
from flopwatch.hardware.chips import Dtype
from flopwatch.trace.account import RECOMPUTED, TraceAccount
from flopwatch.trace.formulas import ATTENTION, MATMUL
from flopwatch.trace.parts import COMMUNICATION, COPY, IDLE_DATA, IDLE_HOST, IDLE_OTHER, OPTIMIZER, OTHER
from flopwatch.trace.rows import COMPUTE_BOUND, Row

_LEAST = 0.02  # of the steps' time; less is not worth a sentence
_LARGE_COPIES = _LEAST_OF_A_ROW = 0.01
_HALF: tuple[Dtype, ...] = ("bf16", "fp16")
_SLOW: tuple[Dtype, ...] = ("fp32", "tf32")
# Sizes in elements that fill 16 bytes, as tensor cores read them (NVIDIA, Matrix Multiplication Background, 2023).
_MULTIPLES: dict[Dtype, int] = {"bf16": 8, "fp16": 8, "tf32": 4, "fp8": 16, "int8": 16}
_FULL_TILE = 64
_HEAD_SIZES = (32, 64, 96, 128, 192, 256)  # that FlashAttention 2 has kernels for; others are padded to the next


@dataclass(frozen=True)
class Advice:
    """One thing to change.

    Attributes:
        kind: Short name, such as "launch_bound".
        evidence: What the trace shows.
        change: What to do.
        fraction: Share of the steps' time that it gains at most.
        points: What that adds to the MFU of these steps, as a fraction; `None` where that MFU is not known, or would be
            held against another peak.
    """

    kind: str
    evidence: str
    change: str
    fraction: float
    points: float | None


@dataclass(frozen=True)
class _Find:
    kind: str
    seconds: float
    evidence: str
    change: str
    least: float = _LEAST
    keeps_peak: bool = True


def advice_of(account: TraceAccount) -> tuple[Advice, ...]:
    """What to change, the largest gain first."""
    if not account.seconds:
        return ()
    found = [each for finder in _FINDERS for each in finder(account) if each.seconds >= each.least * account.seconds]
    found.sort(key=lambda each: (-each.seconds, each.kind))
    return tuple(_advice(account, each) for each in found)


def _advice(account: TraceAccount, find: _Find) -> Advice:
    fraction = min(find.seconds / account.seconds, 1.0)
    share = account.peak_share if find.keeps_peak else None
    points = None if share is None or share > 1 - fraction else share / (1 - fraction) - share
    return Advice(find.kind, find.evidence, find.change, fraction, points)


def _of_step(account: TraceAccount, seconds: float) -> str:
    """Like "3.6 ms a step"."""
    return f"{units.format_milliseconds(seconds / account.steps)} a step"


def _each(account: TraceAccount, count: int) -> str:
    """Like "154 kernels a step"."""
    number = units.format_plain(count / account.steps) if count < account.steps else f"{count / account.steps:,.0f}"
    return f"{number} kernel{'' if number == '1' else 's'} a step"


def _idle(account: TraceAccount) -> Iterator[_Find]:
    """Time in which nothing ran, by what it waited for; on a CPU nobody launches anything."""
    data, host, other = (account.parts[part] for part in (IDLE_DATA, IDLE_HOST, IDLE_OTHER))
    yield _Find(
        "data_wait",
        data,
        f"nothing runs for {_of_step(account, data)} while the host waits for its DataLoader",
        "more DataLoader workers (num_workers), a larger prefetch_factor, cheaper transforms",
    )
    if account.on_cpu:
        return
    kernels = _each(account, account.clues.kernels)
    yield _Find(
        "launch_bound",
        host,
        f"the device waits {_of_step(account, host)} for the host to launch the next of {kernels}",
        "torch.compile(mode='reduce-overhead') or CUDA graphs, a larger micro-batch, no .item() within the step",
    )
    yield _Find(
        "gaps",
        other,
        f"the device is idle for {_of_step(account, other)} before kernels that were launched in time, of {kernels}",
        "fewer, larger kernels (torch.compile, fused operators, CUDA graphs); look for waits between streams",
    )


def _elementwise(account: TraceAccount) -> Iterator[_Find]:
    clues = account.clues
    yield _Find(
        "unfused_elementwise",
        clues.elementwise_seconds,
        f"elementwise operators run one by one in {_each(account, clues.elementwise_kernels)}, for"
        f" {_of_step(account, clues.elementwise_seconds)}",
        "torch.compile, or fused norms, activations and rotary embeddings: each unfused one reads and writes all",
    )


def _attention(account: TraceAccount) -> Iterator[_Find]:
    """A softmax over (.., queries, keys) beside a batched product of that size."""
    pairs = {(row.shapes[0][-2], row.shapes[1][-1]) for row in account.rows if row.name == "aten::bmm" and row.flops}
    softmax = {
        row.shapes[0]
        for row in account.rows
        if row.name in ("aten::_softmax", "aten::_safe_softmax") and row.shapes and len(row.shapes[0]) >= 3
    }
    scores = {sizes for sizes in softmax if sizes[-2:] in pairs}
    rows = [row for row in account.rows if row.part == OTHER and scores & set(row.shapes)]
    seconds = sum(row.seconds for row in rows)
    sizes = " and ".join(sorted("x".join(str(size) for size in each) for each in scores)[:2])
    yield _Find(
        "unfused_attention",
        seconds,
        f"softmax and masks over scores of {sizes} take {_of_step(account, seconds)} outside of a fused kernel",
        "torch.nn.functional.scaled_dot_product_attention, or attn_implementation='sdpa' in transformers",
    )


def _optimizer(account: TraceAccount) -> Iterator[_Find]:
    seconds, clues = account.parts[OPTIMIZER], account.clues
    if not account.on_cpu and not clues.has_fused_optimizer:
        yield _Find(
            "eager_optimizer",
            seconds,
            f"the optimizer runs in {_each(account, clues.optimizer_kernels)}, not fused, for"
            f" {_of_step(account, seconds)}",
            "fused=True in torch.optim.Adam, AdamW, SGD or Adagrad, or a compiled optimizer step",
        )


def _communication(account: TraceAccount) -> Iterator[_Find]:
    exposed = account.parts[COMMUNICATION]
    if exposed:
        share = units.format_share(exposed / account.communication_seconds)
        yield _Find(
            "exposed_communication",
            exposed,
            f"{share} of communication hides behind no compute: {_of_step(account, exposed)}",
            "larger buckets or prefetching, gradient accumulation, a sharding strategy that moves less",
        )


def _copies(account: TraceAccount) -> Iterator[_Find]:
    exposed = account.parts[COPY]
    if not account.clues.copies:
        return
    kind = max(account.clues.copies, key=lambda each: account.clues.copies[each])
    share = units.format_share(account.clues.copies[kind] / sum(account.clues.copies.values()))
    change = "prefetch the next batch on a stream of its own"
    if "Pageable" in kind:
        change = "pin_memory=True in the DataLoader, and non_blocking=True where tensors are moved"
    elif "HtoD" not in kind and "DtoH" not in kind:
        change = "write results in place, or in the layout that the next operator reads"
    evidence = f"copies hide behind nothing for {_of_step(account, exposed)}; {share} of all copying is {kind!r}"
    yield _Find("exposed_copies", exposed, evidence, change, _LARGE_COPIES)


def _precision(account: TraceAccount) -> Iterator[_Find]:
    """Products in fp32 or TF32 on a chip that is faster at 16 bits."""
    peaks = {} if account.chip is None else account.chip.peaks
    best = max((peaks[each] for each in _HALF if each in peaks), default=0.0)
    slow = [row for row in account.rows if row.part == MATMUL and row.dtype in _SLOW and row.dtype in peaks]
    gain = sum(row.seconds * (1 - peaks[row.dtype] / best) for row in slow if row.dtype is not None and best)
    seconds = sum(row.seconds for row in slow)
    kinds = " and ".join(sorted({str(row.dtype) for row in slow}))
    half = "bf16" if "bf16" in peaks else "fp16"
    while_ = " while others run in 16 bits" if account.dtype in _HALF else ""
    change = f"precision='{half}-mixed' in Lightning, or autocast around these products"
    if "fp32" in kinds and "tf32" in peaks:
        change += "; torch.set_float32_matmul_precision('high') for those that must stay in fp32"
    evidence = f"products in {kinds} take {_of_step(account, seconds)}{while_}"
    yield _Find("slow_precision", gain, evidence, change, keeps_peak=False)


def _recomputation(account: TraceAccount) -> Iterator[_Find]:
    seconds = account.phases[RECOMPUTED]
    yield _Find(
        "recomputation",
        seconds,
        f"activation checkpointing recomputes for {_of_step(account, seconds)}",
        "with memory to spare, checkpoint fewer layers, or only what is cheap to recompute",
    )


def _shapes(account: TraceAccount) -> Iterator[_Find]:
    """Products whose sizes tensor cores dislike, against the best well-shaped product of the same precision."""
    for row in account.rows:
        if row.part != MATMUL or row.dtype not in _MULTIPLES or row.bound != COMPUTE_BOUND or not row.peak_share:
            continue
        inner = _sizes(row)
        best = max((each.peak_share or 0.0 for each in account.rows if _is_well_shaped(each, row)), default=0.0)
        odd = [size for size in inner if size % _MULTIPLES[row.dtype]]
        rough = odd or [size for size in inner if size % _FULL_TILE and size > _FULL_TILE]
        if not rough or best <= row.peak_share:
            continue
        padded = prod(-(-size // _FULL_TILE) * _FULL_TILE / size for size in rough)
        gain = row.seconds * (1 - padded * row.peak_share / best)
        unit = _MULTIPLES[row.dtype] if odd else _FULL_TILE
        sizes = list(dict.fromkeys(rough))
        wanted = ", ".join(f"{size:,} to {-(-size // _FULL_TILE) * _FULL_TILE:,}" for size in sizes)
        evidence = (
            f"{row.name} with {', '.join(f'{size:,}' for size in sizes)}, no multiple of {unit}, gets"
            f" {units.format_share(row.peak_share)} of the peak, others up to {units.format_share(best)}"
        )
        yield _Find("odd_shapes", gain, evidence, f"pad {wanted}", _LEAST_OF_A_ROW)


def _sizes(row: Row) -> tuple[int, ...]:
    """The sizes of a product that lie next to each other in memory: the inner one and the columns."""
    matrices = [each for each in row.shapes if len(each) >= 2][:2]
    return (matrices[0][-1], matrices[1][-1]) if len(matrices) == 2 else ()


def _is_well_shaped(row: Row, other: Row) -> bool:
    """Whether a product is one to compare another with."""
    return (
        row.part == MATMUL
        and row.dtype == other.dtype
        and row.bound == COMPUTE_BOUND
        and all(size % _FULL_TILE == 0 for size in _sizes(row))
    )


def _head_sizes(account: TraceAccount) -> Iterator[_Find]:
    for row in account.rows:
        if row.part != ATTENTION or not row.flops or "flash" not in row.name or account.on_cpu:
            continue
        width = row.shapes[1][-1]  # the key's forward, the query's backward; what stands last is no tensor of heads
        padded = next((size for size in _HEAD_SIZES if size >= width), width)
        gain = row.seconds * (1 - width / padded)
        if gain:
            evidence = f"attention with a head size of {width} runs in a kernel for {padded}"
            yield _Find("odd_head_size", gain, evidence, f"a head size of {padded}, with fewer heads", _LEAST_OF_A_ROW)


_FINDERS: tuple[Callable[[TraceAccount], Iterator[_Find]], ...] = (
    *(_idle, _elementwise, _attention, _optimizer, _communication),
    *(_copies, _precision, _recomputation, _shapes, _head_sizes),
)

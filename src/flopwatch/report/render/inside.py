"""The sections on the inside of steps: phases, memory, and a profile of a few of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from flopwatch import units
from flopwatch.report.inside import Inside, ProfiledSteps
from flopwatch.report.render.section import Bar, Section
from flopwatch.report.render.traced import note_sentences, operators_section
from flopwatch.report.report import Report
from flopwatch.report.step_losses import memory_sentences
from flopwatch.run import phases, rates
from flopwatch.run.records import StepPhases
from flopwatch.run.time_kinds import TIME_KINDS, kind_of_part
from flopwatch.trace.parts import PARTS

PHASES, MEMORY, PROFILE = "Inside a step", "Memory", "Profiled steps"
_NAMES: tuple[tuple[str, phases.Part], ...] = (
    ("moving the batch to the device", "transfer_seconds"),
    ("forward", "forward_seconds"),
    ("backward", "backward_seconds"),
    ("gradient clipping", "clip_seconds"),
    ("optimizer", "optimizer_seconds"),
)
_PRODUCTS = {"matmul": "matrix products", "attention": "attention", "convolution": "convolutions"}


def inside_sections(report: Report) -> Iterator[Section]:
    """Yield the sections on what is known of a run's steps."""
    found = report.inside
    if found.phases is not None:
        yield _phases(found, found.phases)
    if found.profiled is not None:
        yield _profile(found.profiled, report.step_seconds)
        yield operators_section(found.profiled.trace.first)
    if found.memory is not None:
        yield _memory(found)


def _phases(found: Inside, step: StepPhases) -> Section:
    mfu = {"forward_seconds": found.forward_mfu, "backward_seconds": found.backward_mfu}
    named = [(name, part, phases.share(step, part)) for name, part in _NAMES]
    rest = 1.0 - sum(share or 0.0 for _, _, share in named)
    rows = [(name, units.format_share(share), units.format_percent(mfu.get(part))) for name, part, share in named]
    rows.append(("between phases: data, callbacks, logging", units.format_share(rest), ""))
    rows = [(name, share, "" if value == units.UNKNOWN else value) for name, share, value in rows]
    has_mfu = any(value for _, _, value in rows)
    return Section(
        PHASES,
        tuple(row if has_mfu else row[:2] for row in rows),
        ("phase", "share", *(["MFU"] if has_mfu else [])),
        bars=tuple(Bar(share) for share in (*(share or 0.0 for _, _, share in named), rest)),
        sentences=("Of the first rank's device, in one step of each window.",),
    )


def _profile(profiled: ProfiledSteps, step_seconds: float | None) -> Section:
    account = profiled.trace.first
    shares = {part: rates.fraction(account.parts[part], account.seconds) or 0.0 for part in PARTS}
    parts = [part for part in PARTS if shares[part] > 0]
    rows = tuple(
        (
            _PRODUCTS.get(part, TIME_KINDS[kind_of_part(part, on_cpu=account.on_cpu)].words),
            units.format_milliseconds(account.parts[part] / account.steps),
            units.format_share(shares[part]),
        )
        for part in parts
    )
    return Section(
        PROFILE,
        rows,
        ("part", "a step", "share"),
        bars=tuple(Bar(shares[part]) for part in parts),
        sentences=tuple(_sample_words(profiled, step_seconds)),
    )


def _sample_words(profiled: ProfiledSteps, step_seconds: float | None) -> Iterator[str]:
    profile, slower = profiled.profile, profiled.slower(step_seconds)
    than = "" if slower is None else f", {_slower_words(slower)}"
    yield (
        f"A sample: {profile.steps} steps up to step {profile.step:,}{than}. Profiled steps are left out of MFU;"
        f" starting and stopping the profiler took {units.format_duration(profile.extra_seconds)}."
    )
    yield from note_sentences(profiled.trace.first.notes)
    yield f"`flopwatch trace {shlex.quote(str(profiled.trace.first.path))}` tells more; Perfetto draws it."


def _slower_words(slower: float) -> str:
    if abs(slower) < 0.005:
        return "as fast as the others"
    return f"{units.format_percent(abs(round(slower, 2)))} {'slower' if slower > 0 else 'faster'} than the others"


def _memory(found: Inside) -> Section:
    assert found.memory is not None
    held = found.memory.held
    rows = (
        ("held by tensors at most", _of_memory(held.peak_bytes, found.memory.peak_frac)),
        ("held by PyTorch at most", _of_memory(held.reserved_bytes, found.memory.reserved_frac)),
        ("memory of the device", units.format_bytes(held.total_bytes)),
        ("allocation retries, all ranks", f"{held.retries:,}"),
    )
    return Section(MEMORY, rows, sentences=memory_sentences(found))


def _of_memory(amount: int, share: float | None) -> str:
    return f"{units.format_bytes(amount)}, {units.format_percent(share)}"

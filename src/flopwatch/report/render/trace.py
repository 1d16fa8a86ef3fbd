"""Where a trace's device time went, as text of 80 columns and as one page that needs no network."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import replace

import jinja2

from flopwatch import units
from flopwatch.report.finding import points_words
from flopwatch.report.render.section import Bar, Section
from flopwatch.report.render.text import render_sections
from flopwatch.report.render.traced import note_sentences, operators_section
from flopwatch.trace import Advice, TraceAccount, TraceReport
from flopwatch.trace.formulas import MATMUL
from flopwatch.trace.parts import BUSY, COMPUTE

_WIDTH = 80
WORDS = {
    "matmul": "matrix products",
    "attention": "attention",
    "convolution": "convolutions",
    "other_compute": "other compute",
    "optimizer": "optimizer",
    "communication_exposed": "communication, not hidden",
    "copy_exposed": "copies, not hidden",
    "idle_data": "idle: waiting for data",
    "idle_host": "idle: the host was late",
    "idle_other": "idle otherwise",
}
_TITLES = {
    "data_wait": "Data loading is slow",
    "launch_bound": "Launch-bound",
    "gaps": "Gaps between kernels",
    "unfused_elementwise": "Elementwise work is not fused",
    "unfused_attention": "Attention is not fused",
    "eager_optimizer": "The optimizer is not fused",
    "exposed_communication": "Communication is not hidden",
    "exposed_copies": "Copies are not hidden",
    "slow_precision": "Products in a slow precision",
    "recomputation": "Recomputation",
    "odd_shapes": "Sizes that tensor cores dislike",
    "odd_head_size": "A head size without a kernel",
}
_COLORS = {  # Okabe and Ito's palette, which colour-blind readers can tell apart; idle in greys
    "matmul": "#0072B2",
    "attention": "#56B4E9",
    "convolution": "#009E73",
    "other_compute": "#F0E442",
    "optimizer": "#CC79A7",
    "communication_exposed": "#D55E00",
    "copy_exposed": "#E69F00",
    "idle_data": "#5f6672",
    "idle_host": "#8a919c",
    "idle_other": "#c3c8d0",
}
_ALL = 0.99  # of the products' time, from which on what is known of them is told of all
_SAMPLE = (
    "A profile is a sample: the profiler itself slows the steps that it records (some 5 to 40%), most of all where the"
    " host is the bottleneck."
)


def render_text(report: TraceReport) -> str:
    """Render the report for a terminal."""
    advice = tuple(
        f"{_TITLES[each.kind]} ({gain_text(each)}): {each.evidence}. Try: {each.change}." for each in report.advice
    )
    parts = [
        replace(_parts(report), sentences=tuple(facts(report))),
        *tables(report),
        *([Section("What to do", sentences=advice)] if advice else []),
        Section("About these numbers", sentences=tuple(notes(report))),
    ]
    return f"{units.printable(textwrap.fill(headline(report), _WIDTH))}\n\n{render_sections(parts)}"


def headline(report: TraceReport) -> str:
    """Name the device, the ranks and the steps."""
    first, ranks = report.first, len(report.accounts)
    job = f" of {first.world_size}" if first.world_size and first.world_size != ranks else ""
    return (
        f"{first.device or 'a device that the trace does not name'}: {_counted(ranks, 'rank')}{job},"
        f" {_counted(first.steps, 'profiled step')} of {units.format_milliseconds(report.seconds / first.steps)}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _parts(report: TraceReport) -> Section:
    """The parts that took time, per step; means over ranks."""
    parts = {part: seconds for part, seconds in report.parts.items() if seconds}
    rows = [(part_name(report, part), *_time(report, seconds)) for part, seconds in parts.items()]
    bars = [Bar(seconds / report.seconds) for seconds in parts.values() if report.seconds]
    return Section(
        "Where the time went",
        (*rows, ("in all", *_time(report, report.seconds))),
        ("part", "ms/step", "share"),
        (*bars, None) if bars else (),
    )


def part_name(report: TraceReport, part: str) -> str:
    """A part in words; on a CPU nobody launches anything."""
    return "outside of operators" if part == "idle_host" and report.first.on_cpu else WORDS[part]


def _time(report: TraceReport, seconds: float) -> tuple[str, str]:
    return _milli(seconds, report.first.steps), units.format_share(seconds / report.seconds if report.seconds else None)


def _milli(seconds: float, steps: int) -> str:
    return f"{1000 * seconds / steps:,.3f}"


def facts(report: TraceReport) -> list[str]:
    """Sentences: how busy, how fast, in which phases, how much communication."""
    first, parts = report.first, report.parts
    busy = sum(parts[each] for each in BUSY)
    lines = [f"Busy {units.format_share(busy / report.seconds)} of the time. {_speed(first)}".strip()]
    phases = {name: seconds for name, seconds in report.phases.items() if seconds}
    if len(phases) > 1:
        compute = sum(parts[each] for each in COMPUTE)
        lines.append(
            "Compute by phase: "
            + ", ".join(f"{name} {units.format_share(seconds / compute)}" for name, seconds in phases.items())
            + "."
        )
    if report.communication_seconds:
        hidden = 1 - parts["communication_exposed"] / report.communication_seconds
        lines.append(
            f"Communication is under way for {units.format_milliseconds(report.communication_seconds / first.steps)}"
            f" a step; compute hides {units.format_share(hidden)} of it."
        )
    if first.named_kernel_share < 1:
        lines.append(
            f"{units.format_share(1 - first.named_kernel_share)} of kernel time is in kernels of unknown kind."
        )
    return lines


def _speed(account: TraceAccount) -> str:
    """How fast products of the main precision are, and what of the peak the steps get; nothing without shapes."""
    products = [row for row in account.rows if row.part == MATMUL]
    known = [row for row in products if row.flops is not None and row.dtype == account.dtype]
    flops, seconds = sum(row.flops or 0 for row in known), sum(row.seconds for row in known)
    if not seconds:
        return ""
    share = seconds / sum(row.seconds for row in products)
    which = "Matrix products"
    if share < _ALL:
        which += f" in {account.dtype}" if account.dtype else ""
        which += f" with known shapes ({units.format_share(share)} of all products' time)"
    text = f"{which} do {units.format_si(flops / seconds, 'FLOP/s')}"
    peak = account.peak_flops_per_second
    if peak is not None:
        of_peak = units.format_share(flops / seconds / peak)
        text += f", {of_peak} of the {account.dtype} peak of {units.format_si(peak, 'FLOP/s')}"
    mfu = account.peak_share
    return f"{text}." if mfu is None else f"{text}. The steps get {units.format_share(mfu)} of it (MFU)."


def tables(report: TraceReport) -> list[Section]:
    """The operators that lose most, and the ranks."""
    operators = operators_section(report.first)
    return [
        *([operators] if operators.rows else []),
        *([_ranks(report)] if len(report.accounts) > 1 else []),
        *([_waiting(report)] if report.waiting else []),
    ]


def _ranks(report: TraceReport) -> Section:
    columns = ("rank", "ms/step", "busy", "compute", "communication", "not hidden", "idle")
    rows = []
    for place, each in enumerate(report.accounts):
        compute = sum(each.parts[part] for part in COMPUTE)
        shown = (compute, each.communication_seconds, each.parts["communication_exposed"])
        shares = (each.busy_seconds, *shown, each.seconds - each.busy_seconds)
        cells = (units.format_share(seconds / each.seconds if each.seconds else None) for seconds in shares)
        rows.append((rank_name(each, place), _milli(each.seconds, each.steps), *cells))
    return Section("Ranks", tuple(rows), columns)


def rank_name(account: TraceAccount, place: int) -> str:
    """A rank's number, or the place of its file where the trace does not tell it."""
    return str(account.rank) if account.rank is not None else f"file {place + 1}"


def _waiting(report: TraceReport) -> Section:
    columns = ("rank", "collectives", "waits, ms/step", "transfers, ms/step", "others wait for it, ms/step")
    rows = []
    for each in report.waiting:
        account = report.accounts[each.rank]
        times = (each.waiting_seconds, each.transfer_seconds, each.caused_seconds)
        numbers = (_milli(seconds, account.steps) for seconds in times)
        rows.append((rank_name(account, each.rank), f"{each.collectives:,}", *numbers))
    return Section("Who waits for whom in collectives", tuple(rows), columns)


def notes(report: TraceReport) -> list[str]:
    """What a reader must know about the numbers."""
    sentences = note_sentences(dict.fromkeys(note for each in report.accounts for note in each.notes))
    if report.waiting and (report.first.world_size or 0) > len(report.accounts):
        sentences.append(f"Waiting is known among these {len(report.accounts)} ranks only.")
    if any(row.attention == "full" for row in report.first.rows):
        sentences.append("Attention counts all pairs where the trace does not say that it is causal.")
    return [*sentences, _SAMPLE]


def gain_text(advice: Advice) -> str:
    """What an advice gains at most; points of MFU that round to nothing are left out."""
    of_step = f"{units.format_share(advice.fraction)} of the step"
    points = points_words(advice.points)
    return f"at most {of_step}" if points is None else f"at most {points} of MFU, {of_step}"


def render_html(report: TraceReport) -> str:
    """Render the page; what comes from a trace is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flopwatch.report.render"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: units.printable(value, lines=True) if type(value) is str else value,
    )
    return environment.get_template("trace.html.j2").render(
        title=report.first.path.name if len(report.accounts) == 1 else f"{len(report.accounts)} ranks",
        headline=headline(report),
        facts=facts(report),
        advice=[(_TITLES[each.kind], gain_text(each), each.evidence, each.change) for each in report.advice],
        bars=[(name, list(_stretches(report, parts, seconds))) for name, parts, seconds in _bar_rows(report)],
        legend=[(part_name(report, part), _COLORS[part]) for part, seconds in report.parts.items() if seconds],
        parts=_parts(report),
        tables=tables(report),
        notes=notes(report),
    )


def _bar_rows(report: TraceReport) -> Iterable[tuple[str, dict[str, float], float]]:
    """A bar for all, and one for each of several ranks."""
    several = len(report.accounts) > 1
    yield ("mean" if several else ""), report.parts, report.seconds
    for place, each in enumerate(report.accounts if several else ()):
        name = rank_name(each, place)
        yield (f"rank {name}" if name.isdecimal() else name), dict(each.parts), each.seconds


def _stretches(report: TraceReport, parts: dict[str, float], seconds: float) -> Iterable[tuple[float, float, str, str]]:
    """Each part of a bar: where it begins and how wide it is, in percent, its colour and its words."""
    at = 0.0
    for part, time in parts.items():
        if time and seconds:
            width = 100 * time / seconds
            yield at, width, _COLORS[part], f"{part_name(report, part)}: {units.format_share(time / seconds)}"
            at += width

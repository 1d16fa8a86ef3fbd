"""Where a trace's device time went, as text of 80 columns and as one page that needs no network."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from flopwatch import units
from flopwatch.trace import Advice, TraceAccount, TraceReport
from flopwatch.trace.parts import BUSY, COMPUTE
from flopwatch.trace.rows import Row

_WIDTH = 80
_MOST_ROWS = 10
_NAME = 17  # characters of an operator in a table
_BAR = 24
WORDS = {
    "matmul": "matrix products",
    "attention": "attention",
    "convolution": "convolutions",
    "other_compute": "other compute",
    "optimizer": "optimizer",
    "communication_exposed": "communication, not hidden",
    "copy_exposed": "copies, not hidden",
    "idle_host": "idle: the host was late",
    "idle_other": "idle otherwise",
}
_TITLES = {
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
    "idle_host": "#8a919c",
    "idle_other": "#c3c8d0",
}
_SAMPLE = (
    "A profile is a sample: the profiler itself slows the steps that it records (some 5 to 40%), most of all where the"
    " host is the bottleneck."
)


@dataclass(frozen=True)
class _Table:
    """A table with its heading; the first columns are words, the last `numbers` are numbers."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int


def render_text(report: TraceReport) -> str:
    """Render the report for a terminal."""
    blocks = [_wrapped(headline(report)), _text_table(_parts_table(report), bars=_shares(report))]
    blocks.append("\n".join(_wrapped(line) for line in facts(report)))
    blocks += [_text_table(table) for table in tables(report)]
    if report.advice:
        blocks.append("\n".join(["What to do", *(_text_advice(each) for each in report.advice)]))
    blocks += [_wrapped(note) for note in notes(report)]
    return units.printable("\n\n".join(blocks), lines=True) + "\n"


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


def _parts_table(report: TraceReport) -> _Table:
    """The parts that took time, per step; means over ranks."""
    rows = [(part_name(report, part), *_time(report, seconds)) for part, seconds in report.parts.items() if seconds]
    return _Table(
        "Where the time went", ("part", "ms/step", "share"), (*rows, ("in all", *_time(report, report.seconds))), 2
    )


def part_name(report: TraceReport, part: str) -> str:
    """A part in words; on a CPU nobody launches anything."""
    return "outside of operators" if part == "idle_host" and report.first.on_cpu else WORDS[part]


def _time(report: TraceReport, seconds: float) -> tuple[str, str]:
    share = seconds / report.seconds if report.seconds else None
    return _milli(report, seconds), units.format_share(share)


def _milli(report: TraceReport, seconds: float) -> str:
    return f"{1000 * seconds / report.first.steps:,.3f}"


def _shares(report: TraceReport) -> list[float]:
    return [seconds / report.seconds for seconds in report.parts.values() if seconds and report.seconds]


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
    """How fast the products are, and what of the peak the steps get; nothing without shapes."""
    timed = [row for row in account.rows if row.part == "matmul" and row.flops is not None]
    seconds = sum(row.seconds for row in timed)
    if not seconds:
        return ""
    rate = account.matmul_flops / seconds
    text = f"Matrix products do {units.format_si(rate, 'FLOP/s')}"
    peak = account.peak_flops_per_second
    if peak is not None:
        text += f", {units.format_share(rate / peak)} of the {account.dtype} peak of {units.format_si(peak, 'FLOP/s')}"
    share = account.peak_share
    return f"{text}." if share is None else f"{text}. The steps get {units.format_share(share)} of it (MFU)."


def tables(report: TraceReport) -> list[_Table]:
    """The operators that lose most, and the ranks."""
    found = []
    rows = [row for row in report.first.rows if row.part in COMPUTE][:_MOST_ROWS]
    if rows:
        columns = ("operator", "shapes", "calls", "ms/step", "FLOP/s", "peak", "bound")
        found.append(_Table("Operators that lose most", columns, tuple(_cells(report, row) for row in rows), 5))
    if len(report.accounts) > 1:
        found.append(_ranks_table(report))
    if report.waiting:
        found.append(_waiting_table(report))
    return found


def _cells(report: TraceReport, row: Row) -> tuple[str, ...]:
    rate = "" if row.flops is None or not row.seconds else units.format_si(row.flops / row.seconds, "").strip()
    phase = "" if row.phase in ("forward", "unknown") else f", {row.phase}"
    return (
        f"{row.name.removeprefix('aten::')}{phase}",
        shapes_text(row.shapes),
        units.format_plain(row.calls / report.first.steps),
        _milli(report, row.seconds),
        rate,
        units.format_share(row.peak_share) if row.peak_share is not None else "",
        row.bound or "",
    )


def shapes_text(shapes: Sequence[Any]) -> str:
    """Sizes as words: ((8, 16), (16, 4)) is "8x16 16x4"."""
    flat: list[str] = []
    for each in shapes:
        if each and all(isinstance(size, int) for size in each):
            flat.append("x".join(str(size) for size in each))
        else:
            flat.append(shapes_text([inner for inner in each if isinstance(inner, tuple) and inner]))
    return " ".join(text for text in flat if text)


def _ranks_table(report: TraceReport) -> _Table:
    columns = ("rank", "ms/step", "busy", "compute", "communication", "not hidden", "idle")
    rows = []
    for place, each in enumerate(report.accounts):
        compute = sum(each.parts[part] for part in COMPUTE)
        shown = (compute, each.communication_seconds, each.parts["communication_exposed"])
        idle = each.parts["idle_host"] + each.parts["idle_other"]
        shares = (each.busy_seconds, *shown, idle)
        cells = (units.format_share(seconds / each.seconds if each.seconds else None) for seconds in shares)
        rows.append((rank_name(each, place), f"{1000 * each.seconds / each.steps:,.3f}", *cells))
    return _Table("Ranks", columns, tuple(rows), 6)


def rank_name(account: TraceAccount, place: int) -> str:
    """A rank's number, or the place of its file where the trace does not tell it."""
    return str(account.rank) if account.rank is not None else f"file {place + 1}"


def _waiting_table(report: TraceReport) -> _Table:
    columns = ("rank", "collectives", "waits, ms/step", "transfers, ms/step", "others wait for it")
    rows = []
    for each in report.waiting:
        account = report.accounts[each.rank]
        times = (each.waiting_seconds, each.transfer_seconds, each.caused_seconds)
        numbers = (f"{1000 * seconds / account.steps:,.3f}" for seconds in times)
        rows.append((rank_name(account, each.rank), f"{each.collectives:,}", *numbers))
    return _Table("Who waits for whom in collectives", columns, tuple(rows), 4)


def notes(report: TraceReport) -> list[str]:
    """What a reader must know about the numbers."""
    own = dict.fromkeys(note for each in report.accounts for note in each.notes)
    sentences = [f"{note[0].upper()}{note[1:]}." for note in own]
    if report.waiting and (report.first.world_size or 0) > len(report.accounts):
        sentences.append(f"Waiting is known among these {len(report.accounts)} ranks only.")
    if any(row.attention == "full" for row in report.first.rows):
        sentences.append("Attention counts all pairs where the trace does not say that it is causal.")
    return [*sentences, _SAMPLE]


def gain_text(advice: Advice) -> str:
    """What an advice gains at most."""
    if advice.points is not None:
        return f"at most {units.format_points(advice.points)} of MFU, {units.format_share(advice.fraction)} of the step"
    return f"at most {units.format_share(advice.fraction)} of the step"


def _text_advice(advice: Advice) -> str:
    line = f"{_TITLES[advice.kind]} ({gain_text(advice)}): {advice.evidence}. Try: {advice.change}."
    return textwrap.fill(line, _WIDTH, initial_indent="- ", subsequent_indent="  ")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _text_table(table: _Table, bars: Sequence[float] = ()) -> str:
    """A table of at most 80 columns: long words are cut, those in the last column of words to what room is left."""
    words = len(table.columns) - table.numbers
    rows = [table.columns, *table.rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(table.columns))]
    if words > 1:
        widths[0] = min(widths[0], _NAME)
        others = sum(widths) - widths[words - 1] + 2 * (len(widths) - 1)
        widths[words - 1] = min(widths[words - 1], _WIDTH - others)
    rows.insert(1, tuple("-" * width for width in widths))
    drawn = ["", "", *("#" * round(_BAR * share) for share in bars)]
    lines = []
    for place, row in enumerate(rows):
        cells = [
            _cut(cell, width).ljust(width) if at < words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join([*cells, *drawn[place : place + 1]]).rstrip())
    return "\n".join([table.heading, *lines])


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


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
        parts=_parts_table(report),
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

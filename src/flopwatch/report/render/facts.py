"""The lines of a report as label and text, shared by every renderer that is read by people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from flopwatch import units
from flopwatch.report.render.efficiency import part_words
from flopwatch.report.report import Process, Report
from flopwatch.report.standings import BudgetStanding
from flopwatch.report.verdict import UNREADABLE_WORK, WITHHELD, device_time, no_mfu_reason
from flopwatch.run import rates
from flopwatch.run.records import Device, Work

Line = tuple[str, str]
VERIFICATION = {
    "verified": "verified: equal to a watched training batch, to the FLOP",
    "watched": "watched: counted from the operators that training batches ran",
    "sampled": "sampled: batches cost differently; those not watched count as the mean",
    "given": "given by the user",
    "formula only": "formula only: no training batch could be watched as a check",
    "measured only": "measured on a copy of the model, without a closed form",
    "parameters equal": "its parameter count equals the live model's",
    "disagree": "withheld: closed form and measurement disagree",
    "withheld": "withheld",
}
_MOST_PROCESSES = 40
_SHOWN = 0.0005  # of the time; less would read 0.0%
_OTHER_PEAKS = "; earlier processes had different peaks, and each is measured against its own"


def status_words(report: Report) -> str:
    """Return how a run ended, and at which step."""
    if report.status == "killed or still running":
        return f"last seen at step {report.step:,}, no end recorded (killed, or still running)"
    return f"{report.status} at step {report.step:,}"


def subtitle(report: Report) -> str:
    """Return how a run ended, and on what it ran."""
    return f"{status_words(report)}, on {report.device.count} x {report.device.name}"


def spent_words(report: Report) -> str:
    """Return the time and the money that a run took."""
    words = [f"{units.format_duration(report.wall_seconds)} wall time"]
    if _has_several_devices(report):
        words.append(" ".join(device_time(report.totals.device_seconds)))
    return ", ".join([*words, units.format_usd(report.usd)] if report.usd is not None else words)


def loss_words(report: Report) -> str:
    """Return the last losses that are known: "loss 2.31, validation 2.45"; empty if none is."""
    losses = (("loss", report.loss), ("validation", report.validation_loss))
    return ", ".join(f"{name} {units.format_loss(value)}" for name, value in losses if value is not None)


def headline(report: Report) -> list[Line]:
    """Return the headline numbers that are known."""
    counts = report.totals.counts
    numbers = [
        ("MFU", units.format_percent(report.mfu)),
        ("run MFU", units.format_percent(report.run_mfu)),
        *(_pace(report) if report.mfu is None or not counts.tokens else ()),
        ("model FLOPs", units.format_si(counts.flops or None, "FLOPs")),
        ("tokens", units.format_count(counts.tokens or None)),
        ("samples", units.format_count(None if counts.tokens else counts.samples or None)),
        ("loss", units.format_loss(report.loss)),
        ("validation loss", units.format_loss(report.validation_loss)),
        ("wall time", units.format_duration(report.wall_seconds)),
        *([_device_time(report)] if _has_several_devices(report) else ()),
        ("cost", units.format_usd(report.usd)),
    ]
    return [(label, value) for label, value in numbers if value != units.UNKNOWN]


def _pace(report: Report) -> list[Line]:
    return [
        ("speed per device", units.format_si(report.device_flops_per_second or None, "FLOP/s")),
        ("tokens/s", units.format_count(report.tokens_per_second or None)),
        ("samples/s", units.format_count(report.samples_per_second or None)),
        ("step", units.format_duration(report.step_seconds)),
    ]


def _has_several_devices(report: Report) -> bool:
    return any(each.device.count > 1 for each in report.each_process) or report.device.count > 1


def _device_time(report: Report) -> Line:
    amount, unit = device_time(report.totals.device_seconds)
    return unit, amount


def headline_basis(report: Report) -> str:
    """Return the peak behind the headline's MFU and how its FLOPs were counted, in one line."""
    reason = no_mfu_reason(report)
    if reason is not None:
        return f"No MFU: {reason}."
    if report.work is None:
        return f"MFU is relative to a peak of {peak_text(report.device)} per device; {UNREADABLE_WORK}."
    others = _OTHER_PEAKS if _peaks_differ(report) else ""
    return (
        f"MFU is relative to a peak of {peak_text(report.device)} per device{others}; FLOPs are those of"
        f" {report.work.model_type}{_attention_words(report.work)}"
        f" ({VERIFICATION[report.work.verification]})."
    )


def run_lines(report: Report) -> list[Line]:
    """Return what ran, on which devices, against which peak."""
    lines = [
        ("run", f"{report.name}, {report.run_id}" if report.name else report.run_id),
        ("status", status_words(report)),
        ("started", _date(report.started_at)),
        ("devices", f"{report.device.count} x {report.device.name}"),
        ("peak per device", f"{peak_text(report.device)}{_OTHER_PEAKS if _peaks_differ(report) else ''}"),
    ]
    named = (("precision", report.precision), ("strategy", report.strategy))
    lines += [(label, value) for label, value in named if value]
    if (report.device.peak_source or "").startswith("measured"):
        lines.append(
            ("note", "a measured peak varies from start to start; compare runs by tokens/s or samples/s, not by MFU")
        )
    if report.device.driver and report.hardware is None:
        lines.append(("driver", report.device.driver))
    if report.processes > 1:
        lines.append(("processes", f"{report.processes}, each resumed from the previous one"))
    return lines


def _peaks_differ(report: Report) -> bool:
    return len({each.device.peak_flops_per_second for each in report.each_process}) > 1


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return units.UNKNOWN


def peak_text(device: Device) -> str:
    """Return the peak with its precision and source, or why there is none."""
    if device.peak_flops_per_second is None:
        return f"{units.UNKNOWN}, so there is no MFU: {device.peak_source or 'no peak is known'}"
    peak = units.format_si(device.peak_flops_per_second, "FLOP/s")
    return f"{peak} dense {device.dtype or ''} ({device.peak_source})".replace("  ", " ")


def work_lines(work: Work | None) -> list[Line]:
    """Return how FLOPs were counted."""
    if work is None:
        return [("counted", "no record: no batch was finished, or the record is unreadable")]
    if work.verification in WITHHELD:
        return [("counted", "no FLOPs; the reason is above")]
    lines = [
        ("model", _model_words(work)),
        ("FLOPs counted", _method_words(work)),
        *([("attention convention", _attention_convention(work))] if work.method != "measured" or work.tokens else ()),
        ("status", VERIFICATION[work.verification]),
        ("checked", work.note),
        ("first batch", f"{_batch_words(work)} per device"),
    ]
    per_token = work.training_flops_per_token
    if per_token is not None:
        lines.append(("model FLOPs per token", units.format_si(per_token, "FLOPs")))
    if work.hardware_flops and work.training_flops and work.hardware_flops != work.training_flops:
        again = work.hardware_flops / work.training_flops - 1
        lines.append(("recomputed", f"{units.format_share(again)} of model FLOPs, by activation checkpointing"))
    return lines


_OPERATORS = "matrix multiplications and convolutions"
_METHOD = {
    "given": "by the user's function",
    "measured only": f"by running a copy of training_step on the meta device: {_OPERATORS}",
}


def _method_words(work: Work) -> str:
    if work.method != "measured":
        return "from the config: exact matrix multiplications, head included, no recomputation"
    return _METHOD.get(work.verification, f"from the operators that ran in training batches: {_OPERATORS}")


def _model_words(work: Work) -> str:
    words = f"{work.model_type}, {units.format_count(work.parameters)} parameters"
    if work.active_parameters is not None and work.active_parameters != work.parameters:
        words += f", {units.format_count(work.active_parameters)} active"
    if work.trainable_parameters is not None and work.trainable_parameters != work.parameters:
        words += f", {units.format_count(work.trainable_parameters)} trained"
    return words


def _batch_words(work: Work) -> str:
    sizes = [f"{work.seq_len} tokens"] if work.seq_len else []
    sizes += [f"{work.source_len} source positions"] if work.source_len else []
    sizes += [" x ".join(map(str, work.image_size)) + " pixels"] if work.image_size else []
    if not sizes:
        return f"{work.sequences or units.UNKNOWN} samples"
    thing = "sequence" if work.seq_len else "image"
    return f"{work.sequences} {thing}{'' if work.sequences == 1 else 's'} x {' and '.join(sizes)}"


def work_words(work: Work) -> str:
    """Return the FLOPs of the first batch in a few words."""
    per_token = work.training_flops_per_token
    amount = units.format_si(work.training_flops if per_token is None else per_token, "FLOPs")
    return f"{amount} per {'batch' if per_token is None else 'token'}{_attention_words(work)}"


def _attention_words(work: Work) -> str:
    """Return the attention convention in words; a measured model may have no attention."""
    return "" if work.method == "measured" else f" with {work.attention} attention"


_ATTENTION = {
    "causal": "unmasked pairs only",
    "full": "all pairs, as PaLM and nanoGPT count",
}


def _attention_convention(work: Work) -> str:
    if work.method == "measured" and work.attention == "causal":
        return "as the code runs it, minus what PyTorch's attention masks"
    return f"{work.attention}: {_ATTENTION.get(work.attention or '', '')}"


def speed_lines(report: Report) -> list[Line]:
    """Return means over the training loop without warm-up; what is unknown or says nothing new is left out."""
    mfu, hfu = units.format_percent(report.mfu), units.format_percent(report.hfu)
    lines = [
        ("MFU", mfu),
        ("HFU", units.UNKNOWN if hfu in (mfu, units.UNKNOWN) else f"{hfu} (with recomputed FLOPs)"),
        ("MFU at clock", _with(units.format_percent(report.mfu_at_clock), "at the actual SM clock")),
        *_pace(report),
        ("waiting for data", units.format_share(report.data_wait_fraction)),
    ]
    return [(label, value) for label, value in lines if value != units.UNKNOWN]


def total_lines(report: Report) -> list[Line]:
    """Return totals over all wall time; what is unknown is left out."""
    counts = report.totals.counts
    lines = [
        ("wall time", units.format_duration(report.wall_seconds)),
        ("run MFU", _with(units.format_percent(report.run_mfu), "over all wall time")),
        ("goodput", _with(units.format_share(report.goodput), "of wall time in kept training steps")),
        ("model FLOPs", units.format_si(counts.flops or None, "FLOPs")),
        ("tokens", _tokens(report)),
        ("samples", units.format_count(counts.samples or None)),
        _device_time(report),
        ("cost", units.format_usd(report.usd)),
    ]
    return [(label, value) for label, value in lines if value != units.UNKNOWN]


def budget_lines(budgets: Sequence[BudgetStanding]) -> list[Line]:
    """A line for each budget: what is used of it, and when the rest will be."""
    return [(f"budget of {each.text}", f"{units.format_share(each.fraction)} used{_left(each)}") for each in budgets]


def _left(budget: BudgetStanding) -> str:
    left = budget.left
    if left is None or left.middle <= 0:
        return ""
    words = f", {units.format_duration(left.middle)} left"
    if left.low is None or left.high is None or left.low == left.high:
        return words
    return f"{words} (80% interval {units.format_duration(left.low)} to {units.format_duration(left.high)})"


def restart_lines(report: Report) -> list[Line]:
    """Return one line per process of a resumed run, and what the restarts cost."""
    if report.processes == 1 and not report.totals.lost_seconds:
        return []
    lines = _some_processes(
        [(f"process {number}", _process_words(each)) for number, each in enumerate(report.each_process, 1)]
    )
    totals = report.totals
    if totals.lost_seconds:
        steps = "an unknown number of" if totals.lost_steps is None else f"{totals.lost_steps:,}"
        flops = units.format_si(totals.lost_flops, "FLOPs")
        lost = f"{steps} steps ({flops}, {units.format_duration(totals.lost_seconds)}) were repeated"
        lines.append(("lost work", f"{lost}; they count in device-hours, energy and cost, but not in other totals"))
    return lines


def _some_processes(lines: list[Line]) -> list[Line]:
    """Return the first and the last processes of very many, and a count of those between."""
    left_out = len(lines) - _MOST_PROCESSES
    if left_out <= 0:
        return lines
    half = _MOST_PROCESSES // 2
    return [*lines[:half], ("...", f"{left_out:,} more processes"), *lines[-half:]]


def _process_words(process: Process) -> str:
    words = f"{_date(process.started_at)}, {units.format_duration(process.seconds)}: steps {process.first_step:,} to"
    words += f" {process.last_step:,} on {process.device.count} x {process.device.name}"
    if process.sequences and process.seq_len:
        words += f", {process.sequences} x {process.seq_len} tokens"
    if process.mfu is not None:
        peak = units.format_si(process.device.peak_flops_per_second, "FLOP/s")
        words += f", MFU {units.format_percent(process.mfu)} of {peak} per device"
    ended = "no end recorded" if process.status == "killed or still running" else process.status
    return f"{words}, {ended}"


def _tokens(report: Report) -> str:
    counts = report.totals.counts
    if not counts.tokens or counts.useful_tokens is None:
        return units.format_count(counts.tokens or None)
    padding = units.format_share(1 - counts.useful_tokens / counts.tokens)
    return f"{units.format_count(counts.tokens)}, {padding} of them padding"


def _with(value: str, note: str) -> str:
    return value if value == units.UNKNOWN else f"{value} ({note})"


def time_lines(report: Report) -> list[tuple[str, float, float | None]]:
    """Return where wall time went: words, seconds, share."""
    total = sum(report.seconds.values())
    return [
        (part_words(kind), seconds, share)
        for kind, seconds in sorted(report.seconds.items(), key=lambda item: -item[1])
        if (share := rates.fraction(seconds, total)) is None or share >= _SHOWN
    ]


def component_lines(work: Work | None) -> list[tuple[str, int, int, float | None]]:
    """The per-component table of the first batch: name, parameters, forward FLOPs, share of FLOPs."""
    if work is None:
        return []
    total = sum(row.forward_flops for row in work.components)
    return [
        (row.name, row.parameters, row.forward_flops, rates.fraction(row.forward_flops, total))
        for row in work.components
    ]


def component_rows(work: Work | None, most: int) -> tuple[tuple[str, str, str, str], ...]:
    """The same in words, with at most `most` rows, the last one for all that are left."""
    lines = component_lines(work)
    if len(lines) > most:
        rest = lines[most - 1 :]
        parameters, flops = sum(line[1] for line in rest), sum(line[2] for line in rest)
        share = rates.fraction(flops, sum(line[2] for line in lines))
        lines = [*lines[: most - 1], (f"{len(rest)} more", parameters, flops, share)]
    return tuple(
        (name, f"{parameters:,}", units.format_si(flops, "FLOPs"), units.format_share(share))
        for name, parameters, flops, share in lines
    )

"""Where the peak of several runs went, as a bar of parts for each: the same part in the same colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flopwatch import units
from flopwatch.report.comparison import Entry
from flopwatch.report.render.drawing import Key
from flopwatch.report.render.efficiency import part_words
from flopwatch.run.time_kinds import TIME_KINDS, TRAINING, USEFUL

_MOST_PARTS = 8  # that have a colour of their own
_OTHERS, _OTHERS_TONE = "all other parts", "part"
_KEPT_TONES = {USEFUL: "useful", TRAINING: "trained"}


@dataclass(frozen=True)
class Segment:
    """A part of a bar: its length in percent, its colour's name, and what it is."""

    tone: str
    percent: str
    words: str


@dataclass(frozen=True)
class StackedBar:
    """The parts of a run, which fill its bar."""

    name: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class StackedBars:
    """Bars of the runs whose parts are known, and the legend that they have in common."""

    keys: tuple[Key, ...] = ()
    bars: tuple[StackedBar, ...] = ()


def stacked_bars(entries: Sequence[Entry]) -> StackedBars:
    """Return a bar for each run whose parts are known; the smallest parts of all runs are one."""
    runs = [entry for entry in entries if entry.parts]
    tones = _tones(runs)
    kinds = [kind for kind in TIME_KINDS if kind in tones]
    keys = [Key(part_words(kind, short=True), f"{tones[kind]} fill") for kind in kinds]
    bars = tuple(StackedBar(entry.name, tuple(_segments(entry, tones))) for entry in runs)
    if any(segment.tone == _OTHERS_TONE for bar in bars for segment in bar.segments):
        keys.insert(0, Key(_OTHERS, f"{_OTHERS_TONE} fill"))
    return StackedBars(tuple(keys), bars)


def _tones(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the colours of the largest parts; what was useful has the one that it has in every report."""
    largest = sorted(TIME_KINDS, key=lambda kind: -sum(entry.parts.get(kind, 0.0) for entry in entries))
    chosen = {kind for kind in largest[:_MOST_PARTS] if any(entry.parts.get(kind, 0.0) > 0 for entry in entries)}
    losses = [kind for kind in TIME_KINDS if kind in chosen and kind not in _KEPT_TONES]
    tones = {kind: f"lost{place}" for place, kind in enumerate(losses)}
    return {**tones, **{kind: tone for kind, tone in _KEPT_TONES.items() if kind in chosen}}


def _segments(entry: Entry, tones: dict[str, str]) -> list[Segment]:
    """Parts in the order of the table; below zero, as where the peak is wrong, there is nothing to draw."""
    drawn = {kind: max(share, 0.0) for kind, share in entry.parts.items()}
    whole = sum(drawn.values()) or 1.0
    named = [kind for kind in TIME_KINDS if kind in tones and drawn.get(kind)]
    segments = [
        Segment(
            tones[kind],
            f"{100 * drawn[kind] / whole:.2f}",
            f"{part_words(kind)}: {units.format_share(entry.parts[kind])}",
        )
        for kind in named
    ]
    rest = sum(share for kind, share in drawn.items() if kind not in tones)
    if rest > 0:
        words = f"{_OTHERS}: {units.format_share(rest)}"
        segments.insert(0, Segment(_OTHERS_TONE, f"{100 * rest / whole:.2f}", words))
    return segments

"""Coverage-guided fuzzing of everything that reads what somebody else wrote: does any input crash, hang or swell it?

    pip install atheris
    python tests/benchmarks/fuzz.py [--seconds 600] [TARGET ...]

Every target is a reader: a run file, an offline W&B file, a profiler's trace, a model's config, a budget, a table of
chips. libFuzzer changes well-formed examples as long as new branches of flopwatch are reached. Allowed are a right
answer and flopwatch's own error, in one line; any other exception, more than 10 seconds or 2 GiB end a target, and what
it was given is kept in the folder that is named. What was found so far is a test beside the reader.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
if importlib.util.find_spec("atheris") is None:
    sys.exit("atheris is needed; run `pip install atheris`")

import atheris

with atheris.instrument_imports(include=["flopwatch"]):
    from flopwatch.errors import FlopwatchError
    from flopwatch.hardware.chips import read_chips
    from flopwatch.model.batch import Batch
    from flopwatch.model.families import architecture_of
    from flopwatch.report.render import RENDERERS
    from flopwatch.report.render.trace import render_html, render_text
    from flopwatch.report.report import summarize
    from flopwatch.report.sources import open_run
    from flopwatch.run.budget import parse_budget
    from flopwatch.run.record_lines import to_json
    from flopwatch.run.run_file import read_run
    from flopwatch.trace import read_trace
    from flopwatch.units import parse_count
    from flopwatch.wandb.log import LogReader

from tests import samples, test_fuzz
from tests.model.families.families import FAMILIES
from tests.trace import traces
from tests.wandb import log

FOLDER = Path(tempfile.gettempdir()) / "flopwatch-fuzz"
SECONDS_FOR_ONE, MEMORY_MIB, LONGEST_INPUT = 10, 2048, 16_384
PROGRESS = re.compile(r"#(\d+)\s.*cov: (\d+).*corp: (\d+)")


def run_file(data: bytes) -> None:
    path = FOLDER / "run.jsonl"
    path.write_bytes(data)
    report = summarize(read_run(path))
    for render in RENDERERS.values():
        assert render(report)


def wandb_file(data: bytes) -> None:
    """Records get right checksums, or nothing behind those would be reached; after a first byte of 0, bytes are raw."""
    path = FOLDER / "run-a.wandb"
    if data[:1] == b"\0":
        path.write_bytes(b":W&B" + data[1:])
    else:
        log.write(path, data[1:].split(b"\xff\xfe\xfd"))
    list(LogReader(path).rows())
    assert RENDERERS["text"](summarize(open_run(str(path))))


def trace_file(data: bytes) -> None:
    path = FOLDER / "trace.json"
    path.write_bytes(data)
    report = read_trace(path)
    assert json.dumps(report.to_json(), allow_nan=False)
    assert render_text(report)
    assert render_html(report)


def config_file(data: bytes) -> None:
    path = FOLDER / "config.json"
    path.write_bytes(data)
    architecture = architecture_of(path)
    assert architecture.parameters() >= 0
    assert architecture.forward_flops(Batch(2, 16, 16, image_size=(32, 32))) >= 0


def budget(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        read = parse_budget(text)
    except FlopwatchError:
        assert parse_count(text) > 0
        return
    assert read.amount > 0
    assert parse_budget(str(read)).unit == read.unit


def chips_table(data: bytes) -> None:
    for chip in read_chips(data.decode(errors="replace"), "a file"):
        assert all(0 < peak < 1e60 for peak in chip.peaks.values())


def _texts(*lines: str) -> bytes:
    return "\n".join(lines).encode() + b"\n"


def _trace(*events: object) -> bytes:
    return json.dumps({"schemaVersion": 1, **traces.H100, "traceEvents": list(events)}).encode()


def _trace_seeds() -> list[bytes]:
    product = [
        traces.operator(0, 2, "aten::mm", (64, 64), (64, 64)),
        traces.launch(1, 1),
        traces.kernel(3, 9, traces.GEMM, correlation=1),
    ]
    attention = traces.operator(
        10, 12, "aten::_scaled_dot_product_flash_attention", (1, 2, 8, 4), values=("", "", "", "0.", "True")
    )
    steps = [traces.device_step(0, 20, 1), traces.device_step(20, 40, 2), traces.annotation(0, 20, "ProfilerStep#1")]
    waiting = [traces.kernel(12, 18, "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", stream=9), traces.copy(18, 19)]
    return [_trace(*product), _trace(*steps, *product, *waiting), _trace(attention, *waiting)]


CHIPS = Path(__file__).parents[2] / "src" / "flopwatch" / "data" / "chips.csv"
TARGETS = {
    "run file": (
        run_file,
        lambda: [_texts(*test_fuzz.RUN), _texts(*(to_json(each) for each in samples.healthy_run()))],
    ),
    "W&B file": (wandb_file, lambda: [b"1" + b"\xff\xfe\xfd".join(test_fuzz.WHOLE), b"\0" + test_fuzz.WHOLE[0]]),
    "trace": (trace_file, _trace_seeds),
    "config": (
        config_file,
        lambda: [json.dumps({"model_type": kind, **fields}).encode() for kind, _, fields in FAMILIES.values()],
    ),
    "budget": (
        budget,
        lambda: [b"1.4T tokens", b"2 days", b"$20k", b"500 device-hours", b"chinchilla", b"3.1e23 FLOPs"],
    ),
    "chips": (
        chips_table,
        lambda: [CHIPS.read_bytes()[:4000], b"names,bf16,sm_count,source\nMy GPU,1e15,132,a page\n"],
    ),
}


def one(target: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    read, seeds = TARGETS[target]
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def try_it(data: bytes) -> None:
        try:
            read(data)
        except FlopwatchError as error:
            text = str(error)
            assert len(text) < 1_000, text[:200]
            assert "\n" not in text, text[:200]

    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS_FOR_ONE}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={LONGEST_INPUT}",
        f"-artifact_prefix={corpus.parent}/{corpus.name}-",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], try_it)
    atheris.Fuzz()


def run_all(targets: list[str], seconds: int) -> bool:
    FOLDER.mkdir(exist_ok=True)
    print(
        f"atheris {importlib.metadata.version('atheris')}, Python {sys.version.split()[0]}, {seconds} s each; {FOLDER}"
    )
    print(f"{'reader':10} {'inputs':>10} {'branches':>9} {'kept':>6}  what came")
    well = True
    for target in targets:
        corpus = FOLDER / target.replace(" ", "-").replace("&", "n")
        corpus.mkdir(exist_ok=True)
        command = [sys.executable, __file__, "--seconds", str(seconds), "--one", target, "--corpus", str(corpus)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        output = done.stdout + done.stderr
        inputs, branches, kept = PROGRESS.findall(output)[-1] if PROGRESS.search(output) else ("?", "?", "?")
        print(f"{target:10} {inputs:>10} {branches:>9} {kept:>6}  {outcome(done.returncode, output)}", flush=True)
        (FOLDER / f"{corpus.name}.log").write_text(output)
        well = well and done.returncode == 0
    return well


def outcome(status: int, output: str) -> str:
    if status == 0:
        return "nothing"
    found = re.findall(
        r"^(?:\s*=== Uncaught Python exception: ===\n)?(\w*(?:Error|Exception|ERROR)\b.*)$", output, re.M
    )
    return found[-1][:120] if found else f"ended with {status}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for each (default: 600)")
    parser.add_argument("--one", choices=TARGETS, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.seconds, arguments.corpus)
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"expected {', '.join(TARGETS)}; got {', '.join(unknown)}")
    sys.exit(0 if run_all(arguments.targets or list(TARGETS), arguments.seconds) else 1)


if __name__ == "__main__":
    main()

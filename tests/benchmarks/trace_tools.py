"""What flopwatch, HTA and TraceLens say of the same traces, how long they take and how much memory.

    python tests/benchmarks/trace_tools.py FOLDER --others PYTHON [--tracelens CHECKOUT]

FOLDER holds traces (`*.json.gz`); PYTHON is one with `HolisticTraceAnalysis` and what TraceLens needs; CHECKOUT is a
checkout of AMD-AGI/TraceLens, which no registry has. Each tool reads each trace in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOPWATCH = """
from flopwatch.trace import read_trace
report = read_trace(sys.argv[1]); parts, account = report.parts, report.first
compute = sum(parts[part] for part in ("matmul", "attention", "convolution", "other_compute", "optimizer"))
told = {"busy": account.busy_seconds, "idle": report.seconds - account.busy_seconds, "compute": compute}
told |= {"communication": account.communication_seconds, "exposed": parts["communication_exposed"]}
told |= {"copies": parts["copy_exposed"], "flops": account.matmul_flops}
told["products"] = sum(row.seconds for row in account.rows if row.part == "matmul" and row.flops is not None)
"""
PLAIN = """
import gzip
raw = open(sys.argv[1], "rb").read()
events = json.loads(gzip.decompress(raw) if raw[:2] == b"\\x1f\\x8b" else raw)["traceEvents"]
mine = [each for each in events if each.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
notes = [each for each in events if each.get("cat") == "gpu_user_annotation"]
marks = [each for each in notes if each["name"].startswith("ProfilerStep")]
first = min(each["ts"] for each in marks or mine)
last = max(each["ts"] + each["dur"] for each in marks or mine)
hosts = [each for each in events if each.get("cat") in ("user_annotation", "cpu_op", "Operator", "operator")]
names = {each["name"] for each in marks}
hosts = [each for each in hosts if each["name"].startswith("ProfilerStep") and (not names or each["name"] in names)]
begun = min((each["ts"] for each in hosts), default=first)
first = min(first, max([begun, *(each["ts"] + each["dur"] for each in mine if each["ts"] < first)]))
kinds = {"compute": [], "communication": [], "copies": []}
for each in mine:
    talks = any(word in each["name"].lower() for word in ("nccl", "rccl", "all_reduce"))
    kind = "copies" if each["cat"] != "kernel" else "communication" if talks else "compute"
    kinds[kind].append((max(each["ts"], first) - first, min(each["ts"] + each["dur"], last) - first))
def union(*names):
    length, end = 0, 0
    for a, b in sorted(pair for name in names for pair in kinds[name]):
        length, end = length + max(b - max(a, end), 0), max(end, b)
    return length / 1e6
told = {"busy": union(*kinds), "compute": union("compute"), "communication": union("communication")}
told["idle"] = (last - first) / 1e6 - told["busy"]
told["exposed"] = union("compute", "communication") - told["compute"]
told["copies"] = told["busy"] - union("compute", "communication")
"""
HTA = """
import logging; logging.disable(logging.CRITICAL)
from hta.trace_analysis import TraceAnalysis
analysis = TraceAnalysis(trace_files={0: sys.argv[1]}, trace_dir="/")
row = analysis.get_temporal_breakdown(visualize=False).to_dict("records")[0]
told = {"idle": row["idle_time(us)"] / 1e6, "compute": row["compute_time(us)"] / 1e6}
told["busy"] = (row["kernel_time(us)"] - row["idle_time(us)"]) / 1e6
told["exposed"] = row["non_compute_time(us)"] / 1e6
"""
TRACELENS = """
from TraceLens import TreePerfAnalyzer
analyzer = TreePerfAnalyzer.from_file(sys.argv[1])
times = {row["type"]: row["time ms"] / 1e3 for row in analyzer.get_df_gpu_timeline().to_dict("records")}
told = {"busy": times["busy_time"], "idle": times["idle_time"], "compute": times["computation_time"]}
told |= {"communication": times["total_comm_time"], "exposed": times["exposed_comm_time"]}
told["copies"] = times["exposed_memcpy_time"]
products = [event for event in analyzer.tree.events if event.get("name") in ("aten::mm", "aten::addmm", "aten::bmm")]
table = analyzer.build_df_perf_metrics(products)
told |= {"flops": table["GFLOPS"].sum() * 1e9, "products": table["Kernel Time (µs)"].sum() / 1e6}
"""
BEGINNING = "import json, sys, warnings\nwarnings.filterwarnings('ignore')\n"
END = """
import resource
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print("\\n" + json.dumps({**told, "memory": memory}))
"""
COLUMNS = ("busy", "idle", "compute", "communication", "exposed", "copies", "products")


def tell(python, code, path, folders=()):
    """What a tool says of a trace, with its wall seconds; or its error's last line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    done = subprocess.run(
        [python, "-c", BEGINNING + code + END, str(path)], capture_output=True, text=True, env=environment
    )
    seconds = time.perf_counter() - started
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["nothing"]
    if done.returncode:
        return {"error": lines[-1][:80], "seconds": seconds}
    return {**json.loads(lines[-1]), "seconds": seconds}


def row(tool, told):
    if "error" in told:
        return f"| {tool} | stops: `{told['error']}` |" + " |" * (len(COLUMNS) + 2)
    times = (f"{1e3 * told[name]:,.3f}" if name in told else "" for name in COLUMNS)
    flops = f"{told['flops']:,.0f}" if told.get("flops") else ""
    return f"| {tool} | {' | '.join(times)} | {flops} | {told['seconds']:.1f} | {told['memory']:,.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--others")
    parser.add_argument("--tracelens", type=Path)
    arguments = parser.parse_args()
    tools = [("flopwatch", sys.executable, FLOPWATCH, [ROOT / "src"])]
    tools.append(("intervals, by json.load", sys.executable, PLAIN, []))
    if arguments.others:
        tools.append(("HTA", arguments.others, HTA, []))
    if arguments.tracelens:
        tools.append(("TraceLens", arguments.others, TRACELENS, [arguments.tracelens]))
    for path in sorted(arguments.folder.glob("*.json*")):
        print(f"\n`{path.name}`, {path.stat().st_size / 1e6:.1f} MB, times of the device in ms:\n")
        heads = ("tool", *COLUMNS[:4], "exposed communication", "exposed copies", "products", "their FLOPs", "s", "MB")
        print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for tool, python, code, folders in tools:
            print(row(tool, tell(python, code, path, folders)), flush=True)


if __name__ == "__main__":
    main()

"""Traces by hand: events with times in microseconds, as torch.profiler writes them."""

import gzip
import json

ELEMENTWISE = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int)"
GEMM = "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64"
H100 = {"deviceProperties": [{"id": 0, "name": "NVIDIA H100 80GB HBM3"}]}


def event(category, name, start, length, thread=1, **args):
    return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": thread, "ts": start, "dur": length, "args": args}


def kernel(start, end, name=ELEMENTWISE, stream=7, correlation=0, device=0, **args):
    args = {"device": device, "stream": stream, "correlation": correlation, **args}
    return event("kernel", name, start, end - start, stream, **args)


def copy(start, end, name="Memcpy HtoD (Pinned -> Device)", stream=9):
    return event("gpu_memcpy", name, start, end - start, stream, device=0, stream=stream, correlation=0)


def launch(at, correlation, thread=1):
    return event("cuda_runtime", "cudaLaunchKernel", at, 1, thread, correlation=correlation)


def operator(start, end, name, *shapes, dtype="c10::BFloat16", values=(), thread=1, **args):
    if shapes:
        args = {"Input Dims": [list(each) for each in shapes], "Input type": [dtype] * len(shapes), **args}
    if values:
        args["Concrete Inputs"] = list(values)
    return event("cpu_op", name, start, end - start, thread, **args)


def annotation(start, end, name, thread=1):
    return event("user_annotation", name, start, end - start, thread)


def device_step(start, end, number=1, device=0):
    return event("gpu_user_annotation", f"ProfilerStep#{number}", start, end - start, 7, device=device)


def written(path, *events, **facts):
    """A trace file, gzipped if its name says so."""
    text = json.dumps({"schemaVersion": 1, **facts, "traceEvents": list(events)})
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path

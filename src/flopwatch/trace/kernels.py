"""What a kernel is: by the operator that launched it, else by its name."""

from __future__ import annotations

import re
from functools import lru_cache

from flopwatch.trace.formulas import ATTENTION, CONVOLUTION, MATMUL, part_of
from flopwatch.trace.parts import COMMUNICATION, OPTIMIZER, OTHER

_COMMUNICATION = re.compile(
    r"nccl|rccl|nvshmem|mscclpp|msccl|multimem_|deep_ep|cross_device_reduce|oneccl|"
    r"all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|all2all_(?!data)",
    re.IGNORECASE,
)
# Names in the order in which they are tried; the first that fits counts.
_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (part, re.compile(pattern, re.IGNORECASE))
    for part, pattern in (
        # Inductor's templates are products, its other kernels are not, whatever operators their names list.
        (ATTENTION, r"^triton_tem_.*attention"),
        (CONVOLUTION, r"^triton_tem_.*convolution"),
        (MATMUL, r"^triton_tem_|^triton_mm|^_?(matmul|mm|gemm)_kernel"),
        (OTHER, r"^triton_(poi|red|per|for|spl|unk)_"),
        (
            OPTIMIZER,
            r"adam|adagrad(?<!rowwise_adagrad)|rmsprop|fusedsgd|sgdfunctor|lambstage|multi_tensor_apply(?!.*norm)",
        ),
        (ATTENTION, r"flash|fmha|attn|attention|sdpa|mha_|mla_|sage_fwd"),
        (
            CONVOLUTION,
            r"fprop|dgrad|wgrad|winograd|implicit_(gemm|convolve)|im2col|col2im|conv(?!ert)|miopen|igemm_|"
            r"nchwtonhwc|nhwctonchw|cudnn.*(conv|engines)",
        ),
        (
            MATMUL,
            r"gemm|gemv|cutlass|cijk_|tensile|nvjet|xmma|cublas|splitk|wvsplitk|matmul|marlin|"
            r"dot_kernel|deep_gemm|hipblaslt|epilogue::impl::globalkernel|\bmma_|_mm_",
        ),
        (
            OTHER,
            r"at::native|at::cuda|at_cuda|at::\w+|c10::|cub::|hipcub|rocprim|thrust::|\btriton|fbgemm|split_embedding|embedding|"
            r"embs|elementwise|vectorized|reduce|softmax|norm|cross_entropy|dropout|permute|transpose|copy|cat|fill|"
            r"index|scatter|tensor_?op|kv_?cache|routing|bitmatrix|token_?ids|clamp|"
            r"gather|sort|topk|scan|histogram|rotary|rope|gelu|silu|swiglu|relu|sigmoid|tanh|cast|"
            r"quant|pool|interp|resize|upsample|random|philox|distribution|bounds_check|sparse|segment|bias|scale|"
            r"fused|apex|transformer_engine|liger|selective_scan|causal_conv|_kernel_cuda|memset|loss|argmax|where",
        ),
    )
)
_OPERATOR = re.compile(r"^(?!autograd::|torch::autograd::)\w+::\w")


def is_communication(name: str) -> bool:
    """Whether a kernel, operator or annotation moves data between devices; Inductor's kernels only list operators."""
    return _COMMUNICATION.search(name) is not None and not name.startswith("triton_")


@lru_cache(maxsize=1 << 16)
def part_of_kernel(kernel: str, operator: str) -> tuple[str, bool]:
    """The part that a kernel's time belongs to, and whether it could be told.

    Args:
        kernel: Its name.
        operator: The innermost operator around its launch, such as "aten::mm"; empty where that is not known.
    """
    if is_communication(kernel):
        return COMMUNICATION, True
    part = part_of(operator)
    if part is not None:
        return part, True
    if _OPERATOR.match(operator):
        return (OPTIMIZER, True) if "_fused_adam" in operator else (_of_package(kernel, operator), True)
    return _by_name(kernel)


def _of_package(kernel: str, operator: str) -> str:
    """Operators of PyTorch that are no products are other compute; those of packages are what their kernels are."""
    return OTHER if operator.startswith("aten::") else _by_name(kernel)[0]


def _by_name(kernel: str) -> tuple[str, bool]:
    for part, pattern in _NAMES:
        if pattern.search(kernel):
            return part, True
    return OTHER, False


def is_tf32(kernel: str) -> bool:
    """Whether a kernel on fp32 operands rounds them to TF32, by its name."""
    return (
        re.search(r"tf32|s1688gemm(?!_fp16)|s1688(fprop|dgrad|wgrad)|tensorop_s1688|f32f32_.*tensor", kernel)
        is not None
    )


def is_elementwise(kernel: str) -> bool:
    """Whether a kernel is one of PyTorch's own for one elementwise operator, which a compiler could fuse."""
    return "elementwise_kernel" in kernel

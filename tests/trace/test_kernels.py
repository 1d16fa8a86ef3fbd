import pytest

from flopwatch.trace.kernels import is_communication, is_elementwise, is_tf32, part_of_kernel
from tests.trace.traces import ELEMENTWISE

# As traces of CUDA 11 to 12 and ROCm 6 to 7 name them.
NAMES = {
    "matmul": [
        "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_kernel__5x",
        "cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_32x32_128x2_tn>(Params)",
        "ampere_sgemm_128x128_tn",
        "volta_sgemm_32x32_sliced1x4_tn",
        "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NTT",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float>(cublasLt::cublasSplitKParams<float>)",
        "void gemv2T_kernel_val<int, int, __nv_bfloat16, float>(cublasGemvParamsEx)",
        "void epilogue::impl::globalKernel<float, float, float, true, true>(int, int, long, float*, float)",
        "Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x192x64_MI16x16x1_SN",
        "triton_tem_fused_mm_12",
        "triton_tem_fused_addmm_relu_3",
    ],
    "attention": [
        "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128, 128, 4, false>>(Params)",
        "fmha_cutlassF_bf16_aligned_64x128_rf_sm80(PyTorchMemEffAttention::AttentionKernel::Params)",
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7",
        "attn_fwd",
        "_ZN5aiter24fmha_bwd_hd128_bf16_causalE",
        "triton_tem_fused_flex_attention_0",
    ],
    "convolution": [
        "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816fprop_optimized_bf16_256x64_32x4_nhwc>(Params)",
        "void cudnn::engines_precompiled::nchwToNhwcKernel<__nv_bfloat16, __nv_bfloat16, float, false, true>(Params)",
        "sm80_xmma_wgrad_implicit_gemm_indexed_bf16bf16_bf16f32_f32_nhwckrsc_nhwc",
        "void implicit_convolve_sgemm<float, float, 1024, 5, 5, 3, 3, 3, 1, false, false, true>(int)",
        "miopenSp3AsmConv_v30_3_1_gfx94x_fp16_dot2_edc_stride1",
        "igemm_fwd_gtcx3_nhwc_bf16_bx0_ex0_bt256x128x32_wt32x32x8",
    ],
    "optimizer": [
        "void multi_tensor_apply_kernel<TensorListMetadata<4>, AdamFunctor<float>, float>(int)",
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedOptimizerTensorListMetadata<4>,"
        " at::native::(anonymous namespace)::FusedAdamMathFunctor<float, 4, (ADAM_MODE)1, false>>(int)",
    ],
    "other_compute": [
        ELEMENTWISE,
        "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>>>(int)",
        "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16, float>(int, float)",
        "triton_red_fused_add_mean_mul_pow_rsqrt_0",
        "triton_poi_fused__scaled_dot_product_flash_attention_view_3",
        "triton_per_fused_convolution_mm_native_layer_norm_1",
        "triton_poi_fused_all_reduce_mul_0",
        "void cub::DeviceRadixSortOnesweepKernel<cub::DeviceRadixSortPolicy<long, int, int>>(bool)",
        "void split_embedding_backward_codegen_rowwise_adagrad_unweighted_kernel_cta_per_row_1<float>(int)",
        "void at::native::lpnorm_multi_tensor_apply_kernel<LpNormFunctor<float>>(int)",
    ],
    "communication_exposed": [
        "ncclKernel_SendRecv_RING_SIMPLE_Sum_int8_t(ncclWorkElem)",
        "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "rcclGenericKernel<1, false>(ncclDevComm*, channelMasks, ncclWork*)",
        "void two_shot_all_reduce_kernel<c10::BFloat16, 16>(bf16**)",
        "nvshmem_reduce_on_stream",
    ],
}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in NAMES.items() for name in names])
def test_a_kernel_is_told_by_its_name(part, name):
    assert part_of_kernel(name, "") == (part, True)


@pytest.mark.parametrize("name", ["my_kernel", "void Foo<int>(int)", "", "kernel_1234"])
def test_what_cannot_be_told_is_other_and_unnamed(name):
    assert part_of_kernel(name, "") == ("other_compute", False)


def test_the_operator_that_launched_it_goes_before_its_name():
    assert part_of_kernel("my_kernel", "aten::mm") == ("matmul", True)
    assert part_of_kernel("nchwToNhwcKernel", "aten::cudnn_convolution") == ("convolution", True)
    assert part_of_kernel("void cutlass::Kernel<gemm>()", "aten::_softmax") == ("other_compute", True)
    assert part_of_kernel("my_kernel", "aten::gelu") == ("other_compute", True)
    assert part_of_kernel("my_kernel", "aten::_fused_adamw_") == ("optimizer", True)
    assert part_of_kernel("ncclKernel_AllReduce", "aten::mm") == ("communication_exposed", True)


def test_operators_of_packages_and_of_autograd_leave_it_to_the_name():
    assert part_of_kernel("void flash::flash_fwd_kernel<>()", "vllm::unified") == ("attention", True)
    assert part_of_kernel("Cijk_Alik", "autograd::engine::evaluate_function: AddmmBackward0") == ("matmul", True)
    assert part_of_kernel("my_kernel", "CompiledFunctionBackward") == ("other_compute", False)


def test_communication_is_told_from_operators_that_a_compiler_lists():
    assert is_communication("c10d::allreduce_")
    assert is_communication("gloo:all_reduce")
    assert not is_communication("triton_poi_fused_all_gather_into_tensor_0")
    assert not is_communication("aten::gather")


def test_tf32_and_elementwise_by_name():
    assert is_tf32("void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_64x64_16x6_nn_align4>(Params)")
    assert is_tf32("sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x64")
    assert not is_tf32("ampere_sgemm_128x128_tn")
    assert not is_tf32("cutlass_80_simt_sgemm_128x32_8x5_nn_align1")
    assert is_elementwise(ELEMENTWISE)
    assert not is_elementwise("triton_poi_fused_add_0")

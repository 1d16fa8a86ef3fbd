"""One or more small configs of every family with a closed form: what the tests build, count and compare.

Sizes are chosen so that no two dimensions are equal by chance where a formula could mix them up.
"""

TINY = {"vocab_size": 320, "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64}
GATED = {**TINY, "intermediate_size": 176, "num_key_value_heads": 2}
PLAIN = {**TINY, "intermediate_size": 200}
GPT = {"vocab_size": 320, "n_layer": 3, "n_head": 4, "n_embd": 64, "n_positions": 128}
MOE = {**GATED, "num_experts": 8, "num_experts_per_tok": 2}
BERT = {**PLAIN, "max_position_embeddings": 128}
MLA = {
    **TINY,
    "num_key_value_heads": 4,
    "intermediate_size": 176,
    "q_lora_rank": 48,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}
DEBERTA = {**BERT, "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 12, "type_vocab_size": 0}
DEBERTA |= {"norm_rel_ebd": "layer_norm", "max_relative_positions": -1, "position_biased_input": False}
GEMMA4 = {**GATED, "num_hidden_layers": 6, "head_dim": 24, "global_head_dim": 40, "sliding_window": 20}
GEMMA4 |= {"vocab_size_per_layer_input": 300, "hidden_size_per_layer_input": 12}
GEMMA4_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"] * 2
GEMMA3N = {**GATED, "num_hidden_layers": 6, "head_dim": 24, "sliding_window": 20, "num_kv_shared_layers": 0}
GEMMA3N |= {"vocab_size_per_layer_input": 300, "hidden_size_per_layer_input": 12, "laurel_rank": 10}
DEEPSEEK = {
    **MLA,
    "moe_intermediate_size": 40,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
VISION = {
    "image_size": 32,
    "patch_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "intermediate_size": 200,
}
GDN = {
    **GATED,
    "num_hidden_layers": 4,
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "linear_conv_kernel_dim": 4,
}

LONG_T5 = {"vocab_size": 320, "d_model": 64, "d_kv": 20, "d_ff": 200, "num_layers": 3, "num_decoder_layers": 2}
LONG_T5 |= {"num_heads": 4, "local_radius": 9, "global_block_size": 6}
CONFORMER = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 200}
CONFORMER |= {"num_mel_bins": 16, "subsampling_conv_channels": 12, "layerdrop": 0.0}

# name: (model_type, task, fields). Tasks: lm, mlm, seq2seq, image, clip, speech, ctc.
FAMILIES = {
    # decoders
    "gpt2": ("gpt2", "lm", GPT),
    "gpt2-inner-untied": ("gpt2", "lm", {**GPT, "n_inner": 100, "tie_word_embeddings": False}),
    "gpt_neox": ("gpt_neox", "lm", PLAIN),
    "gpt_neox-no-bias": ("gpt_neox", "lm", {**PLAIN, "attention_bias": False}),
    "gptj": ("gptj", "lm", {**GPT, "rotary_dim": 8}),
    "gpt_neo": (
        "gpt_neo",
        "lm",
        {"vocab_size": 320, "hidden_size": 64, "num_layers": 4, "num_heads": 4, "max_position_embeddings": 128}
        | {"attention_types": [[["global", "local"], 2]], "window_size": 16},
    ),
    "codegen": ("codegen", "lm", {**GPT, "rotary_dim": 8}),
    "gpt_bigcode": ("gpt_bigcode", "lm", GPT),
    "gpt_bigcode-mha": ("gpt_bigcode", "lm", {**GPT, "multi_query": False, "n_inner": 100}),
    "opt": ("opt", "lm", {**TINY, "ffn_dim": 200, "max_position_embeddings": 128}),
    "opt-350m-style": (
        "opt",
        "lm",
        {**TINY, "ffn_dim": 200, "max_position_embeddings": 128, "word_embed_proj_dim": 32}
        | {"do_layer_norm_before": False},
    ),
    "opt-no-bias": (
        "opt",
        "lm",
        {**TINY, "ffn_dim": 200, "max_position_embeddings": 128, "enable_bias": False}
        | {"layer_norm_elementwise_affine": False},
    ),
    "bloom": ("bloom", "lm", {"vocab_size": 320, "hidden_size": 64, "n_layer": 3, "n_head": 4}),
    "mpt": ("mpt", "lm", {"vocab_size": 320, "d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 128}),
    "falcon": ("falcon", "lm", TINY),
    "falcon-40b-style": ("falcon", "lm", {**TINY, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-rw-style": (
        "falcon",
        "lm",
        {**TINY, "multi_query": False, "parallel_attn": False, "bias": True, "alibi": True, "ffn_hidden_size": 100},
    ),
    "llama": ("llama", "lm", GATED),
    "llama-biases-tied": (
        "llama",
        "lm",
        {**GATED, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 24},
    ),
    "llama-multi-head": ("llama", "lm", {**TINY, "intermediate_size": 176}),
    "mistral": ("mistral", "lm", {**GATED, "sliding_window": 16}),
    "mistral-global": ("mistral", "lm", {**GATED, "sliding_window": None}),
    "ministral3": ("ministral3", "lm", {**GATED, "head_dim": 24}),
    "qwen2": ("qwen2", "lm", GATED),
    "qwen2-window": (
        "qwen2",
        "lm",
        {**GATED, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", "lm", {**GATED, "head_dim": 32}),
    "qwen3-biases": ("qwen3", "lm", {**GATED, "head_dim": 32, "attention_bias": True, "tie_word_embeddings": True}),
    "phi": ("phi", "lm", {**PLAIN, "num_key_value_heads": 2}),
    "phi3": ("phi3", "lm", {**GATED, "pad_token_id": 0}),
    "gemma": ("gemma", "lm", {**GATED, "head_dim": 32}),
    "gemma2": ("gemma2", "lm", {**GATED, "head_dim": 32, "sliding_window": 16}),
    "gemma3_text": ("gemma3_text", "lm", {**GATED, "num_hidden_layers": 7, "head_dim": 32, "sliding_window": 16}),
    "gemma3n_text": ("gemma3n_text", "lm", GEMMA3N),
    "gemma3n_text-shared-keys": (
        "gemma3n_text",
        "lm",
        {**GEMMA3N, "layer_types": GEMMA4_LAYERS, "num_kv_shared_layers": 3, "altup_num_inputs": 3, "laurel_rank": 7}
        | {"intermediate_size": [40, 48, 48, 40, 64, 64]},
    ),
    "gemma4_text": ("gemma4_text", "lm", GEMMA4),
    "gemma4_text-shared-keys": (
        "gemma4_text",
        "lm",
        {**GEMMA4, "layer_types": GEMMA4_LAYERS, "num_kv_shared_layers": 3, "use_double_wide_mlp": True},
    ),
    "gemma4_text-experts": (
        "gemma4_text",
        "lm",
        {**GEMMA4, "layer_types": GEMMA4_LAYERS, "attention_k_eq_v": True, "num_global_key_value_heads": 1}
        | {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 40}
        | {"hidden_size_per_layer_input": 0},
    ),
    "gemma3_text-untied": ("gemma3_text", "lm", {**GATED, "head_dim": 32, "tie_word_embeddings": False}),
    "starcoder2": ("starcoder2", "lm", {**PLAIN, "num_key_value_heads": 2, "sliding_window": 16}),
    "stablelm": ("stablelm", "lm", {**GATED, "use_qkv_bias": True}),
    "stablelm-qk-norm": ("stablelm", "lm", {**GATED, "qk_layernorm": True, "use_parallel_residual": True}),
    "olmo": ("olmo", "lm", GATED),
    "olmo2": ("olmo2", "lm", GATED),
    "olmo3": ("olmo3", "lm", {**GATED, "num_hidden_layers": 5, "sliding_window": 16}),
    "cohere": ("cohere", "lm", GATED),
    "cohere-qk-norm": ("cohere", "lm", {**GATED, "use_qk_norm": True}),
    "cohere2": ("cohere2", "lm", {**GATED, "num_hidden_layers": 5, "head_dim": 16, "sliding_window": 16}),
    "granite": ("granite", "lm", GATED),
    "smollm3": ("smollm3", "lm", {**GATED, "num_hidden_layers": 5, "pad_token_id": 0}),
    "glm": ("glm", "lm", {**GATED, "head_dim": 32, "pad_token_id": 0}),
    "glm4": ("glm4", "lm", {**GATED, "head_dim": 32, "pad_token_id": 0}),
    "nemotron": ("nemotron", "lm", {**PLAIN, "num_key_value_heads": 2, "head_dim": 24}),
    "persimmon": ("persimmon", "lm", PLAIN),
    "exaone4": ("exaone4", "lm", {**GATED, "num_hidden_layers": 5, "sliding_window": 16}),
    "seed_oss": ("seed_oss", "lm", {**GATED, "head_dim": 24}),
    "nanochat": ("nanochat", "lm", {**TINY, "intermediate_size": 200}),
    # mixture of experts, latent attention
    "mixtral": ("mixtral", "lm", {**GATED, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "mixtral-window": (
        "mixtral",
        "lm",
        {**GATED, "num_local_experts": 4, "num_experts_per_tok": 3, "sliding_window": 16},
    ),
    "qwen2_moe": ("qwen2_moe", "lm", {**MOE, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 72}),
    "qwen2_moe-sparse-step": (
        "qwen2_moe",
        "lm",
        {**MOE, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 72, "decoder_sparse_step": 2}
        | {"mlp_only_layers": [1], "num_hidden_layers": 5},
    ),
    "qwen3_moe": ("qwen3_moe", "lm", {**MOE, "moe_intermediate_size": 40, "head_dim": 24}),
    "qwen3_moe-dense-first": (
        "qwen3_moe",
        "lm",
        {**MOE, "moe_intermediate_size": 40, "head_dim": 24, "mlp_only_layers": [0]},
    ),
    "olmoe": ("olmoe", "lm", MOE),
    "granitemoe": ("granitemoe", "lm", {**GATED, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "phimoe": ("phimoe", "lm", {**GATED, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "deepseek_v2": ("deepseek_v2", "lm", DEEPSEEK),
    "deepseek_v2-lite-style": ("deepseek_v2", "lm", {**DEEPSEEK, "q_lora_rank": None}),
    "deepseek_v3": ("deepseek_v3", "lm", DEEPSEEK),
    "deepseek_v3-no-q-lora": ("deepseek_v3", "lm", {**DEEPSEEK, "q_lora_rank": None, "attention_bias": True}),
    "deepseek_v32": (
        "deepseek_v32",
        "lm",
        {**DEEPSEEK, "index_n_heads": 2, "index_head_dim": 20, "index_topk": 16},
    ),
    "minimax_m2": (
        "minimax_m2",
        "lm",
        {**GATED, "head_dim": 24, "intermediate_size": 40, "num_local_experts": 8, "num_experts_per_tok": 2},
    ),
    "gpt_oss": (
        "gpt_oss",
        "lm",
        {**GATED, "num_hidden_layers": 4, "head_dim": 24, "num_local_experts": 8, "num_experts_per_tok": 2}
        | {"sliding_window": 16},
    ),
    "llama4_text": (
        "llama4_text",
        "lm",
        {**GATED, "num_hidden_layers": 4, "head_dim": 24, "intermediate_size_mlp": 208, "num_local_experts": 4}
        | {"num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "attention_chunk_size": 32},
    ),
    "glm4_moe": (
        "glm4_moe",
        "lm",
        {**GATED, "head_dim": 24, "moe_intermediate_size": 40, "n_routed_experts": 8, "num_experts_per_tok": 2}
        | {"n_shared_experts": 1, "first_k_dense_replace": 1, "use_qk_norm": True},
    ),
    "ernie4_5_moe": (
        "ernie4_5_moe",
        "lm",
        {**GATED, "moe_intermediate_size": 40, "moe_num_experts": 8, "moe_k": 2, "moe_num_shared_experts": 2}
        | {"moe_layer_start_index": 1, "moe_layer_end_index": 2, "moe_layer_interval": 1},
    ),
    "minimax": (
        "minimax",
        "lm",
        {**GATED, "num_hidden_layers": 4, "head_dim": 24, "num_local_experts": 4, "num_experts_per_tok": 2}
        | {"block_size": 32},
    ),
    # state space, linear attention, hybrids
    "mamba": ("mamba", "lm", {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}),
    "falcon_mamba": (
        "falcon_mamba",
        "lm",
        {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    ),
    "mamba2": (
        "mamba2",
        "lm",
        {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 24, "num_heads": 8, "head_dim": 16}
        | {"n_groups": 2, "chunk_size": 32},
    ),
    "jamba": (
        "jamba",
        "lm",
        {**GATED, "num_hidden_layers": 8, "num_experts": 4, "num_experts_per_tok": 2, "mamba_d_state": 8}
        | {"attn_layer_period": 4, "attn_layer_offset": 1, "use_mamba_kernels": False},
    ),
    "bamba": (
        "bamba",
        "lm",
        {**GATED, "num_hidden_layers": 3, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 16}
        | {"mamba_d_state": 24, "mamba_n_groups": 2, "mamba_chunk_size": 32},
    ),
    "falcon_h1": (
        "falcon_h1",
        "lm",
        {**GATED, "head_dim": 16, "mamba_n_heads": 8, "mamba_d_head": 20, "mamba_d_ssm": 160, "mamba_d_state": 24}
        | {"mamba_n_groups": 2, "mamba_chunk_size": 32},
    ),
    "nemotron_h": (
        "nemotron_h",
        "lm",
        {**GATED, "head_dim": 24, "layers_block_type": ["mamba", "moe", "attention", "mamba"], "mamba_num_heads": 8}
        | {"mamba_head_dim": 16, "ssm_state_size": 24, "n_groups": 2, "chunk_size": 32, "n_routed_experts": 8}
        | {"num_experts_per_tok": 2, "moe_intermediate_size": 40, "moe_shared_expert_intermediate_size": 72}
        | {"num_hidden_layers": 4, "n_group": 2, "topk_group": 1},
    ),
    "granitemoehybrid": (
        "granitemoehybrid",
        "lm",
        {**GATED, "layer_types": ["mamba", "attention", "mamba"], "num_local_experts": 8, "num_experts_per_tok": 2}
        | {"shared_intermediate_size": 72, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 24}
        | {"mamba_n_groups": 1, "mamba_chunk_size": 32},
    ),
    "qwen3_next": (
        "qwen3_next",
        "lm",
        {**GDN, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
        | {"shared_expert_intermediate_size": 72},
    ),
    "qwen3_5_text": ("qwen3_5_text", "lm", GDN),
    "qwen3_5_moe_text": (
        "qwen3_5_moe_text",
        "lm",
        {**GDN, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
        | {"shared_expert_intermediate_size": 72},
    ),
    "recurrent_gemma": (
        "recurrent_gemma",
        "lm",
        {**TINY, "num_key_value_heads": 1, "intermediate_size": 192, "lru_width": 80, "head_dim": 16}
        | {"attention_window_size": 16},
    ),
    "lfm2": (
        "lfm2",
        "lm",
        {**GATED, "num_hidden_layers": 4, "layer_types": ["conv", "conv", "full_attention", "conv"]},
    ),
    "rwkv": ("rwkv", "lm", {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 3, "context_length": 128}),
    # long sources
    "longt5": ("longt5", "seq2seq", LONG_T5),
    "longt5-transient-global": (
        "longt5",
        "seq2seq",
        {**LONG_T5, "encoder_attention_type": "transient-global", "feed_forward_proj": "gated-gelu"},
    ),
    # sounds
    "parakeet_ctc": ("parakeet_ctc", "ctc", {"vocab_size": 40, "pad_token_id": 39, "encoder_config": CONFORMER}),
    "parakeet_ctc-no-bias": (
        "parakeet_ctc",
        "ctc",
        {"vocab_size": 40, "pad_token_id": 39}
        | {
            "encoder_config": {**CONFORMER, "attention_bias": False, "convolution_bias": False, "subsampling_factor": 4}
            | {"conv_kernel_size": 5, "subsampling_conv_kernel_size": 5}
        },
    ),
    # encoders
    "bert": ("bert", "mlm", BERT),
    "roberta": ("roberta", "mlm", {**BERT, "max_position_embeddings": 130}),
    "xlm_roberta": ("xlm-roberta", "mlm", {**BERT, "max_position_embeddings": 130}),
    "distilbert": (
        "distilbert",
        "mlm",
        {"vocab_size": 320, "dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 200, "max_position_embeddings": 128},
    ),
    "albert": ("albert", "mlm", {**BERT, "embedding_size": 48}),
    "electra": ("electra", "mlm", {**BERT, "embedding_size": 48}),
    "modernbert": (
        "modernbert",
        "mlm",
        {**PLAIN, "num_hidden_layers": 4, "intermediate_size": 176, "local_attention": 16}
        | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "eurobert": ("eurobert", "mlm", {**GATED, "pad_token_id": 0}),
    "eurobert-biases-tied": (
        "eurobert",
        "mlm",
        {
            **GATED,
            "pad_token_id": 0,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "head_dim": 24,
        },
    ),
    "deberta-v2": ("deberta-v2", "mlm", {**DEBERTA, "share_att_key": True}),
    "deberta-v2-convolution": ("deberta-v2", "mlm", {**DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "deberta-v2-plain": ("deberta-v2", "mlm", {**BERT, "embedding_size": 40, "type_vocab_size": 2}),
    "deberta-v2-new-head": ("deberta-v2", "mlm", {**DEBERTA, "pos_att_type": ["c2p"], "legacy": False}),
    "esm": (
        "esm",
        "mlm",
        {**PLAIN, "max_position_embeddings": 130, "position_embedding_type": "rotary", "pad_token_id": 1}
        | {"mask_token_id": 32},
    ),
    "esm-absolute": (
        "esm",
        "mlm",
        {**PLAIN, "max_position_embeddings": 130, "emb_layer_norm_before": True, "pad_token_id": 1}
        | {"mask_token_id": 32, "position_embedding_type": "absolute"},
    ),
    # encoder-decoders
    "t5": (
        "t5",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "d_kv": 24, "d_ff": 200, "num_layers": 3, "num_heads": 4},
    ),
    "t5-v1.1-style": (
        "t5",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "d_kv": 24, "d_ff": 176, "num_layers": 2, "num_decoder_layers": 3}
        | {"num_heads": 4, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "t5gemma": (
        "t5gemma",
        "seq2seq",
        {
            "encoder": {**GATED, "head_dim": 24, "sliding_window": 9},
            "decoder": {**GATED, "hidden_size": 80, "num_hidden_layers": 2, "head_dim": 20, "sliding_window": 12},
        },
    ),
    "t5gemma-untied": (
        "t5gemma",
        "seq2seq",
        {
            "encoder": {**GATED, "head_dim": 24, "attention_bias": True, "vocab_size": 300},
            "decoder": {**GATED, "head_dim": 24, "layer_types": ["full_attention"] * 3},
            "tie_word_embeddings": False,
        },
    ),
    "bart": (
        "bart",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4}
        | {"decoder_attention_heads": 2, "encoder_ffn_dim": 200, "decoder_ffn_dim": 168}
        | {"max_position_embeddings": 128},
    ),
    "pegasus": (
        "pegasus",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4}
        | {"decoder_attention_heads": 2, "encoder_ffn_dim": 200, "decoder_ffn_dim": 168}
        | {"max_position_embeddings": 128},
    ),
    "marian": (
        "marian",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4}
        | {"decoder_attention_heads": 2, "encoder_ffn_dim": 200, "decoder_ffn_dim": 168}
        | {"max_position_embeddings": 128, "pad_token_id": 0, "decoder_start_token_id": 0},
    ),
    "mt5": (
        "mt5",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "d_kv": 24, "d_ff": 176, "num_layers": 3, "num_heads": 4},
    ),
    "umt5": (
        "umt5",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "d_kv": 24, "d_ff": 176, "num_layers": 3, "num_heads": 4},
    ),
    "m2m_100": (
        "m2m_100",
        "seq2seq",
        {"vocab_size": 320, "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4}
        | {"decoder_attention_heads": 2, "encoder_ffn_dim": 200, "decoder_ffn_dim": 168, "encoder_layerdrop": 0.0}
        | {"max_position_embeddings": 128, "decoder_layerdrop": 0.0},
    ),
    "whisper": (
        "whisper",
        "speech",
        {"vocab_size": 320, "d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4}
        | {"decoder_attention_heads": 2, "encoder_ffn_dim": 200, "decoder_ffn_dim": 168, "num_mel_bins": 20}
        | {"max_source_positions": 50, "max_target_positions": 128, "pad_token_id": 0, "bos_token_id": 1}
        | {"eos_token_id": 2, "decoder_start_token_id": 1},
    ),
    # vision
    "vit": ("vit", "image", VISION),
    "deit": ("deit", "image", VISION),
    "dinov2": ("dinov2", "image", {**VISION, "mlp_ratio": 3}),
    "dinov2-swiglu": ("dinov2", "image", {**VISION, "use_swiglu_ffn": True, "num_labels": 5}),
    "dinov3_vit": ("dinov3_vit", "features", {**VISION, "num_register_tokens": 4}),
    "dinov3_vit-gated": ("dinov3_vit", "features", {**VISION, "num_register_tokens": 4, "use_gated_mlp": True}),
    "clip": (
        "clip",
        "clip",
        {
            "text_config": {**PLAIN, "max_position_embeddings": 128},
            "vision_config": {**VISION, "hidden_size": 80, "num_hidden_layers": 2},
            "projection_dim": 48,
        },
    ),
    "siglip": (
        "siglip",
        "clip",
        {
            "text_config": {**PLAIN, "max_position_embeddings": 128, "projection_size": 80},
            "vision_config": {**VISION, "hidden_size": 80, "num_hidden_layers": 2},
        },
    ),
    "swin": (
        "swin",
        "image",
        {"image_size": 64, "patch_size": 4, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    ),
    "convnext": ("convnext", "image", {"image_size": 64, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}),
    "resnet": (
        "resnet",
        "image",
        {"image_size": 64, "embedding_size": 16, "hidden_sizes": [32, 48, 64, 96], "depths": [2, 1, 1, 1]},
    ),
    "resnet-basic": (
        "resnet",
        "image",
        {"image_size": 64, "embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 2, 1, 1]}
        | {"layer_type": "basic"},
    ),
}

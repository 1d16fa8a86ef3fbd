"""The decoders that have a closed form by `model_type`, on their own and as the text model inside of another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flopwatch.errors import ConfigError
from flopwatch.model.architecture import Architecture
from flopwatch.model.families import deepseek, gemma, gemma3n, gemma4, gpt, hybrids, llama, moe, plain, recurrent, ssm
from flopwatch.model.families.config import Fields
from flopwatch.units import quoted

Builder = Callable[[Fields], Architecture]


def _named(*builders: Builder) -> dict[str, Builder]:
    return {builder.__name__: builder for builder in builders}


DECODERS: Mapping[str, Builder] = MappingProxyType(
    {
        **_named(gpt.gpt2, gpt.gpt_neox, gpt.gptj, gpt.gpt_neo, gpt.codegen, gpt.gpt_bigcode, gpt.opt),
        **_named(plain.bloom, plain.mpt, plain.falcon, plain.phi, plain.persimmon, plain.starcoder2, plain.nemotron),
        **_named(plain.nanochat, llama.llama, llama.mistral, llama.qwen2, llama.qwen3, llama.phi3),
        **_named(llama.stablelm, llama.olmo, llama.olmo2, llama.olmo3, llama.cohere, llama.cohere2),
        **_named(llama.granite, llama.smollm3, llama.glm, llama.glm4, llama.exaone4, llama.seed_oss),
        **_named(gemma.gemma, gemma.gemma2, gemma.gemma3_text, gemma3n.gemma3n_text, gemma4.gemma4_text),
        **_named(moe.mixtral, moe.qwen2_moe, moe.qwen3_moe, moe.olmoe, moe.granitemoe, moe.phimoe),
        **_named(moe.gpt_oss, moe.llama4_text, moe.glm4_moe, moe.ernie4_5_moe, moe.dbrx),
        **_named(deepseek.deepseek_v2, deepseek.deepseek_v3, deepseek.deepseek_v32),
        **_named(ssm.mamba, ssm.falcon_mamba, ssm.mamba2, hybrids.jamba, hybrids.bamba, hybrids.falcon_h1),
        **_named(hybrids.nemotron_h, hybrids.granitemoehybrid),
        **_named(recurrent.qwen3_next, recurrent.qwen3_5_text, recurrent.qwen3_5_moe_text, recurrent.minimax),
        **_named(recurrent.recurrent_gemma, recurrent.lfm2, recurrent.rwkv),
        **_named(moe.minimax_m2, llama.ministral3),
        "kimi_k2": deepseek.deepseek_v3,
    }
)
# Text models that exist inside of another model only, under the name of that one.
_INSIDE: Mapping[str, Builder] = MappingProxyType(
    {
        "qwen2_vl_text": llama.qwen2,
        "qwen2_5_vl_text": llama.qwen2,
        "qwen2_5_omni_text": llama.qwen2,
        "qwen3_vl_text": llama.qwen3,
        "qwen3_vl_moe_text": moe.qwen3_moe,
        "qwen3_omni_moe_text": moe.qwen3_moe,
        "glm4v_text": llama.glm4v_text,
        "glm4v_moe_text": moe.glm4v_moe_text,
    }
)


def text_model(fields: Fields, kind: str) -> Architecture:
    """Build the text model inside of another one.

    Args:
        fields: The fields of the text model.
        kind: Its `model_type`.

    Raises:
        ConfigError: If it has no closed form.
    """
    builder = DECODERS.get(kind) or _INSIDE.get(kind)
    if builder is None:
        raise ConfigError(
            f"the {fields.model_type} has the model_type {quoted(kind)}, which has no closed form as a text model;"
            " expected one of docs/models.md's decoders"
        )
    return builder(Fields(kind, fields.values))

"""From a config to the exact arithmetic of its model: a table of `model_type`, one short module per kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flopwatch.architectures import gemma, gpt, llama
from flopwatch.architectures.config import Fields, read_mapping
from flopwatch.components import Architecture
from flopwatch.errors import ConfigError, UnknownModelError

ARCHITECTURES: Mapping[str, Callable[[Fields], Architecture]] = MappingProxyType(
    {
        "gemma": gemma.gemma,
        "gemma2": gemma.gemma2,
        "gemma3_text": gemma.gemma3_text,
        "gpt2": gpt.gpt2,
        "gpt_neox": gpt.gpt_neox,
        "llama": llama.llama,
        "mistral": llama.mistral,
        "opt": gpt.opt,
        "phi3": llama.phi3,
        "qwen2": llama.qwen2,
        "qwen3": llama.qwen3,
    }
)
_CAUSAL_LM_ENDINGS = ("ForCausalLM", "LMHeadModel")


def architecture_of(source: object) -> Architecture:
    """Build the architecture that a config describes.

    Args:
        source: A path to `config.json` or its folder, a mapping, a dataclass or a Hugging Face config. It is only
            read; neither torch nor transformers is imported.

    Raises:
        UnknownModelError: If the `model_type` is missing or has no closed form.
        ConfigError: If a field that the count depends on is missing or unusable, or the config is for another head
            than a causal language model's.
    """
    values = read_mapping(source)
    model_type = values.get("model_type")
    known = ", ".join(ARCHITECTURES)
    if not isinstance(model_type, str):
        raise UnknownModelError(f"expected a config with a 'model_type', one of {known}, got one without")
    if model_type not in ARCHITECTURES:
        inner = values.get("text_config")
        if isinstance(inner, Mapping) and inner.get("model_type") in ARCHITECTURES:
            raise UnknownModelError(
                f"model_type {model_type!r} joins several models, which is not counted as a whole; to count the text"
                f" model alone, pass its 'text_config' ({inner['model_type']})"
            )
        raise UnknownModelError(f"no closed form for model_type {model_type!r}; known are {known}")
    _check_task(model_type, values)
    return ARCHITECTURES[model_type](Fields(model_type, values))


def _check_task(model_type: str, values: Mapping[str, object]) -> None:
    classes = values.get("architectures")
    if isinstance(classes, (list, tuple)) and classes and not str(classes[0]).endswith(_CAUSAL_LM_ENDINGS):
        raise ConfigError(
            f"the {model_type} config is for {classes[0]}, but the count is of a causal language model (...ForCausalLM)"
            " with its LM head; remove 'architectures' from the config if that is what you train"
        )

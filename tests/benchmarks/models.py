"""What `flopwatch estimate` says of every type of model that transformers can build, held against two counters.

    python tests/benchmarks/models.py [TYPE ...] > tests/benchmarks/results/models.md

Every type is taken with its class's own default config, in full width, its layers cut to two. Closed forms are compared
with a run of the class on the meta device, measurements with torch's FlopCounterMode. Takes half an hour on two cores.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import FlopwatchError, UnknownModelError
from flopwatch.measure import huggingface, run_once
from flopwatch.measure.meta_counter import MetaCounter
from flopwatch.measure.meta_values import BuiltWithValues, WholeNumbers
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.estimate import Estimate
from flopwatch.model.families import ARCHITECTURES, architecture_of

SECONDS = 90
PROCESSES = 2
LAYERS = re.compile(r"(^|_)(n_layers?|num_layers|num_hidden_layers|layers|depth|num_blocks|num_encoder_blocks)$")
# What transformers runs beside what the model asks for: see docs/conventions.md.
DOCUMENTED = {"llama4_text", "llama4", "mamba", "falcon_mamba", "jamba"}


GLMS = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12]}
# What a class needs beside its own defaults.
NEEDED: dict[str, dict[str, object]] = {
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    **{name: {"prediction_length": 24} for name in ("autoformer", "informer", "time_series_transformer")},
    **{name: {"vocab_size": 32} for name in ("wav2vec2-bert", "wav2vec2-conformer")},
    **{name: {"rope_parameters": GLMS} for name in ("glm4v_text", "glm_image_text")},
    "glm4v_moe_text": {"rope_parameters": GLMS, "head_dim": 128},
    **{name: {"text_config": {"rope_parameters": GLMS}} for name in ("glm46v", "glmga", "glm_image", "glm4v")},
    **{name: {"image_token_index": 5} for name in ("blip-2", "instructblip")},
    "instructblipvideo": {"video_token_index": 5},
    "gemma4": {"vision_config": {"model_type": "gemma4_vision"}, "image_token_id": 5},
    "qwen3_omni_moe_thinker": {"vision_config": {"out_hidden_size": 2048}, "text_config": {"head_dim": 128}},
    "glm_ocr": {"vision_config": {"out_hidden_size": 1024}},
    **{name: {"vision_config": {"out_hidden_size": 4096}} for name in ("cosmos3_omni", "exaone4_5", "glm5_next")},
    "granite_speech": {"projector_config": {"encoder_hidden_size": 1024}},
    "janus": {"vision_config": {"projection_dim": 4096}},
    "ovis2": {"hidden_size": 4096},
    "molmo2": {"adapter_config": {"text_hidden_size": 4096, "vision_feature_layer": [1, 0]}},
    **{name: {"vision_config": {"image_size": 256}} for name in ("modernvbert", "ultravbert")},
    "step3p7": {"text_config": {"sliding_window": 512}},
    "shieldgemma2": {"vision_config": {"image_size": 896, "patch_size": 14}},
    "t5gemma2": {"encoder": {"vision_config": {"image_size": 896, "patch_size": 14}}},
    "aria": {"vision_config": {"image_size": 490, "patch_size": 14}},
    "deepseek_v2": {"num_experts_per_tok": 6},
    "llama4": {"vision_config": {"intermediate_size": 3072, "vision_output_dim": 4096}},
    **{name: {"encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0} for name in ("m2m_100", "nllb-moe")},
    "voxtral": {"audio_token_id": 24},
    "xmod": {"default_language": "en_XX"},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
}


@dataclass(frozen=True)
class Result:
    """What came of one type: how it was counted or why not, and whether the other counter agrees."""

    model_type: str
    how: str
    said: str = ""


def main(names: list[str]) -> None:
    results = []
    with Pool(PROCESSES, maxtasksperchild=50) as pool:
        for result in pool.imap(_timed, names or sorted(transformers.CONFIG_MAPPING)):
            results.append(result)
            print(result, file=sys.stderr, flush=True)
    print(page(results))


def _too_late(*_: object) -> None:
    raise TimeoutError(f"took longer than {SECONDS} s")


def _timed(name: str) -> Result:
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(SECONDS)
    try:
        return result_of(name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Result(name, "broken", f"{type(error).__name__}: {error}"[:300])
    finally:
        signal.alarm(0)


_TRIED_WHOLE = ("refused", "wrong", "measured, text alone")


def result_of(name: str) -> Result:
    """Count one type."""
    values = config_of(name)
    if values is None:
        return Result(name, "not built", "no config without further arguments")
    found = _of_config(name, values)
    whole = default_of(name)
    return _of_config(name, whole) if found.how in _TRIED_WHOLE and whole not in (None, values) else found


def _of_config(name: str, values: dict[str, object]) -> Result:
    try:
        model = huggingface.build(values)
    except FlopwatchError as error:
        how = "refused" if "no forward" in str(error) else "not built"
        return Result(name, how, str(error)[:300])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(values))
        return _counted(name, path, model)


def _counted(name: str, path: Path, model: torch.nn.Module) -> Result:
    try:
        architecture = architecture_of(path)
    except UnknownModelError:
        return _measured(name, path, model)
    except FlopwatchError as error:
        return Result(name, "refused", str(error)[:300])
    parameters = sum(each.numel() for each in model.parameters())
    if architecture.parameters() != parameters:
        return Result(name, "wrong", f"{architecture.parameters():,} parameters, the class has {parameters:,}")
    reference, said = architecture.as_reference().with_full_attention(), ""
    # Without a length of its sounds the class is run with one of 30 seconds, and the closed form counts none.
    hears = architecture.inputs == "grids, sounds and tokens"
    for batch in batches():
        if hears and not batch.source_len:
            continue
        try:
            seen = huggingface.measured(model, batch, "full")
        except FlopwatchError as error:
            said = str(error)
            continue
        planned = batch if architecture.told is None else architecture.told.planned(batch)
        ours = training_flops(reference, planned)
        agrees = ours == seen.training_flops
        said = "" if agrees else f"{ours:,} FLOPs, the class runs {seen.training_flops:,}"
        return Result(name, "closed form" if agrees or name in DOCUMENTED else "wrong", said)
    return Result(name, "closed form", f"not compared: {said}"[:300])


def _measured(name: str, path: Path, model: torch.nn.Module) -> Result:
    said: list[str] = []
    alone = ""
    for batch in batches():
        try:
            one = huggingface.estimate_of(path, batch, attention="full")
        except FlopwatchError as error:
            said.append(str(error))
            continue
        note = next((note for note in one.notes if "text alone" in note), None)
        if note is None:
            return Result(name, "measured", against_torch(model, batch, one))
        alone = alone or note[:300]
        if "pass --image-size" not in note:
            break
    if alone:
        return Result(name, "measured, text alone", alone)
    return Result(
        name, "refused", next((each for each in reversed(said) if "run without data" in each), said[-1])[:300]
    )


class TorchsOwn(FlopCounterMode):
    """torch's counter with the names of ours."""

    def start(self) -> None:
        """Begin to count."""
        self.__enter__()

    def stop(self) -> None:
        """End."""
        self.__exit__(None, None, None)


def against_torch(model: torch.nn.Module, batch: Batch, ours: Estimate) -> str:
    """What torch's own counter sees of the same run, where that is something else."""
    forward, whole = TorchsOwn(display=False), TorchsOwn(display=False)
    try:
        with WholeNumbers(), BuiltWithValues(), MetaCounter(model):  # the last answers checks of values
            inputs = huggingface.without_sounds(huggingface.inputs_of(model, batch, huggingface.CPU))
            with forward:
                model.train()(**inputs)
            run_once(model, (), inputs, whole)
    except Exception as error:
        return f"not compared: {type(error).__name__}: {error}"[:200]
    if whole.get_total_flops() == ours.training_flops:
        return ""
    if forward.get_total_flops() == ours.forward_flops and grouped(model):
        return "equal in the forward; torch's counter takes grouped convolutions' backward for that of whole ones"
    theirs = forward.get_total_flops(), whole.get_total_flops()
    return f"{ours.forward_flops:,} and {ours.training_flops:,} FLOPs, torch's counter {theirs[0]:,} and {theirs[1]:,}"


def grouped(model: torch.nn.Module) -> bool:
    """Whether there are convolutions in groups."""
    return any(getattr(each, "groups", 1) > 1 for each in model.modules())


def batches() -> list[Batch]:
    """Batches as a user would try them, one after the other."""
    return [
        Batch(2, 16),
        Batch(2, 64),
        Batch(2, 1024),
        Batch(2, 64, 128),
        Batch(2, 64, 3000),
        Batch(2, 64, 19200),
        Batch(2, 6144, image_size=(448, 448)),
        Batch(2, 6144, 3000),
        Batch(2, 8192, images=6),
        Batch(2, 8192, images=10),
        Batch(2, 64, image_size=(1536, 1536)),
    ]


def default_of(name: str) -> dict[str, object] | None:
    """The default config with what its class needs beside it."""
    try:
        values = json.loads(transformers.CONFIG_MAPPING[name]().to_json_string(use_diff=False))
    except Exception:
        return None
    return {**merged(values, NEEDED.get(name, {})), "model_type": name, "architectures": None}


def merged(values: dict[str, object], more: dict[str, object]) -> dict[str, object]:
    """A config with fields of another one, those inside of its parts, too."""
    inner = {
        key: merged(each, more[key])
        for key, each in values.items()
        if isinstance(each, dict) and isinstance(more.get(key), dict)
    }
    return {**values, **more, **inner}


def config_of(name: str) -> dict[str, object] | None:
    """The default config with two layers in every part; as it is where its class does not take that."""
    values = default_of(name)
    if values is None:
        return None
    small = shortened(values)
    try:
        transformers.AutoConfig.for_model(**small)
    except Exception:
        return values
    return small


def shortened(values: dict[str, object]) -> dict[str, object]:
    """Two layers instead of more, and lists with an entry for every layer as long."""
    large = {value for key, value in values.items() if LAYERS.search(key) and isinstance(value, int) and value > 2}
    short: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            short[key] = shortened(value)
        elif LAYERS.search(key) and isinstance(value, int) and value > 2:
            short[key] = 2
        elif key.endswith("_indexes") and isinstance(value, list):
            short[key] = [0, 1]
        else:
            short[key] = value[:2] if isinstance(value, list) and len(value) in large else value
    return short


def page(results: list[Result]) -> str:
    """The result file."""
    built = [each for each in results if each.how != "not built"]
    counts = Counter(each.how for each in built)
    lines = [
        "# Types of models that `flopwatch estimate` counts",
        "",
        f"transformers {transformers.__version__}, torch {torch.__version__}: {len(results)} types, of which"
        f" {len(built)} can be built from their own defaults. `python tests/benchmarks/models.py` writes this file.",
        "",
        "| how | types |",
        "|---|---|",
        *(f"| {how} | {count} |" for how, count in counts.most_common()),
        "",
        f"Closed forms: {len(ARCHITECTURES)}.",
    ]
    for how in ("wrong", "broken", "refused", "measured, text alone", "closed form", "measured", "not built"):
        lines += ["", f"## {how}", ""]
        lines += [f"- `{each.model_type}` {each.said}".rstrip() for each in results if each.how == how]
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])

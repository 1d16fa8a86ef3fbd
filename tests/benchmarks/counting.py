"""How long counting takes: closed forms in process, the command, a measurement.

Run `python tests/benchmarks/counting.py`. Every figure is the median of several rounds in one process; the command is a
process of its own each time. Models are on the meta device, so that their size costs no memory.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers

from flopwatch.measure import measure
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of

LLAMA_405B = {
    "model_type": "llama",
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
DEEPSEEK_671B = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_nope_head_dim": 128,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "vocab_size": 129280,
}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
CONFIGS = {"GPT-2 124M": GPT2, "Llama 3.1 405B": LLAMA_405B, "DeepSeek V3 671B": DEEPSEEK_671B}


def median_ms(work, rounds=9):
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def command_ms(config):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        command = [
            str(Path(sys.executable).with_name("flopwatch")),
            "estimate",
            str(path),
            "--seq-len",
            "1024",
            "--json",
        ]
        return median_ms(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), rounds=5)


def main():
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, Python {sys.version.split()[0]}")
    heads = ("build", "count", "command", "full measurement")
    print(f"{'milliseconds':20}" + "".join(f"{head:>18}" for head in heads))
    for name, config in CONFIGS.items():
        architecture, batch = architecture_of(config), Batch(1, 1024)
        with torch.device("meta"):
            real = transformers.AutoConfig.for_model(**config)
            model = transformers.AutoModelForCausalLM.from_config(real)
        tokens = torch.zeros(1, 1024, dtype=torch.long)
        figures = (
            median_ms(lambda config=config: architecture_of(config)),
            median_ms(lambda model=architecture, batch=batch: training_flops(model, batch)),
            command_ms(config),
            median_ms(lambda m=model, t=tokens: measure(m, input_ids=t, use_cache=False), rounds=1),
        )
        print(f"{name:20}" + "".join(f"{figure:18.2f}" for figure in figures))


if __name__ == "__main__":
    main()

"""Fine-tuning with LoRA: only the gradients that are computed count, so a step costs about two thirds of a full one."""

import argparse

import pytorch_lightning as pl
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from flopwatch import FlopWatch


class LoraLM(pl.LightningModule):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        lora = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        self.model = get_peft_model(LlamaForCausalLM(config), lora)

    def training_step(self, batch, batch_idx):
        return self.model(input_ids=batch, labels=batch, use_cache=False).loss

    def configure_optimizers(self):
        return torch.optim.AdamW((each for each in self.parameters() if each.requires_grad), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-steps", type=int, default=300)
    arguments = parser.parse_args()
    config = LlamaConfig(
        vocab_size=256, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4
    )
    data = DataLoader(torch.randint(256, (4096, 64)), batch_size=16, shuffle=True)
    trainer = pl.Trainer(
        max_steps=arguments.max_steps,
        accelerator="auto",
        devices=1,
        logger=False,
        default_root_dir="runs",
        enable_checkpointing=False,
        callbacks=[FlopWatch(peak_flops_per_second="measured")],
    )
    trainer.fit(LoraLM(config), data)


if __name__ == "__main__":
    main()

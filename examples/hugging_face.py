"""A Hugging Face model: FLOPs come from `self.model.config`, padding is told apart by the attention mask."""

import argparse

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from flopwatch import FlopWatch


class CausalLM(pl.LightningModule):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.model = LlamaForCausalLM(config)

    def training_step(self, batch, batch_idx):
        loss = self.model(**batch, use_cache=False).loss
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-4)


def collate(texts: list[bytes]) -> dict[str, torch.Tensor]:
    """Bytes as tokens, padded to the longest text of the batch."""
    longest = max(len(text) for text in texts)
    ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-steps", type=int, default=300)
    arguments = parser.parse_args()
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    words = torch.__doc__.encode().split(b"\n") * 200
    data = DataLoader([word for word in words if word], batch_size=16, shuffle=True, collate_fn=collate)
    trainer = pl.Trainer(
        max_steps=arguments.max_steps,
        accelerator="auto",
        devices=1,
        logger=False,
        default_root_dir="runs",
        enable_checkpointing=False,
        callbacks=[FlopWatch(peak_flops_per_second="measured", budget="chinchilla")],
    )
    trainer.fit(CausalLM(config), data)


if __name__ == "__main__":
    main()

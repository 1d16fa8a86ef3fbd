"""A small Kimi-VL as its authors' code has it, which is not in transformers: the same names, sizes and products."""

import torch
import transformers
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from tests.model.families.families import FAMILIES

VISION = {"model_type": "moonvit", "hidden_size": 80, "intermediate_size": 120, "num_hidden_layers": 3}
VISION |= {"num_attention_heads": 4, "patch_size": 4, "init_pos_emb_height": 8, "init_pos_emb_width": 6}
VISION |= {"merge_kernel_size": [2, 2]}
TEXT = {"model_type": "deepseek_v3", **FAMILIES["deepseek_v3"][2]}
CONFIG = {"model_type": "kimi_vl", "architectures": ["KimiVLForConditionalGeneration"]}
CONFIG |= {"text_config": TEXT, "vision_config": VISION, "media_placeholder_token_id": 300}


class Block(nn.Module):
    def __init__(self, hidden, inner, heads):
        super().__init__()
        self.heads = heads
        self.norm0, self.norm1 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.wqkv, self.wo = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.mlp = nn.ModuleDict({"fc0": nn.Linear(hidden, inner), "fc1": nn.Linear(inner, hidden)})

    def forward(self, x, lengths):
        qkv = self.wqkv(self.norm0(x)).view(len(x), 3, self.heads, -1)
        images = [image.permute(1, 2, 0, 3) for image in qkv.split(lengths)]
        seen = [scaled_dot_product_attention(*image[:, None]).squeeze(0).transpose(0, 1) for image in images]
        x = x + self.wo(torch.cat(seen).flatten(1))
        return x + self.mlp["fc1"](gelu(self.mlp["fc0"](self.norm1(x))))


class Positions(nn.Module):
    def __init__(self, height, width, hidden):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(height, width, hidden))

    def forward(self, sizes):
        table = self.weight.permute(2, 0, 1)[None]
        grids = (nn.functional.interpolate(table, size=size, mode="bicubic") for size in sizes)
        return torch.cat([grid[0].flatten(1).T for grid in grids])


class Tower(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, side = config["hidden_size"], config["patch_size"]
        self.patch_embed = nn.ModuleDict(
            {
                "proj": nn.Conv2d(3, hidden, side, side),
                "pos_emb": Positions(config["init_pos_emb_height"], config["init_pos_emb_width"], hidden),
            }
        )
        layers = range(config["num_hidden_layers"])
        blocks = [Block(hidden, config["intermediate_size"], config["num_attention_heads"]) for _ in layers]
        self.encoder = nn.ModuleDict({"blocks": nn.ModuleList(blocks), "final_layernorm": nn.LayerNorm(hidden)})

    def forward(self, pixels, sizes):
        x = self.patch_embed["proj"](pixels).flatten(1) + self.patch_embed["pos_emb"](sizes)
        for block in self.encoder["blocks"]:
            x = block(x, [height * width for height, width in sizes])
        x = self.encoder["final_layernorm"](x)
        images = zip(x.split([height * width for height, width in sizes]), sizes, strict=True)
        parts = (image.view(height // 2, 2, width // 2, 2, -1).transpose(1, 2) for image, (height, width) in images)
        return torch.cat([part.reshape(-1, 4, part.shape[-1]) for part in parts])


class Projector(nn.Module):
    def __init__(self, hidden, out):
        super().__init__()
        self.pre_norm = nn.LayerNorm(hidden)
        self.linear_1, self.linear_2 = nn.Linear(4 * hidden, 4 * hidden), nn.Linear(4 * hidden, out)

    def forward(self, x):
        return self.linear_2(gelu(self.linear_1(self.pre_norm(x).flatten(1))))


class KimiVL(nn.Module):
    """What it is called with is named as in its authors' code."""

    def __init__(self, config=CONFIG):
        super().__init__()
        self.config = config
        self.vision_tower = Tower(config["vision_config"])
        text = transformers.AutoConfig.for_model(**config["text_config"])
        self.multi_modal_projector = Projector(config["vision_config"]["hidden_size"], text.hidden_size)
        self.language_model = transformers.AutoModelForCausalLM.from_config(text)

    def forward(self, input_ids, pixel_values=None, image_grid_hws=None):
        places = input_ids == self.config["media_placeholder_token_id"]
        x = self.language_model.get_input_embeddings()(input_ids)
        if pixel_values is not None:
            seen = self.multi_modal_projector(self.vision_tower(pixel_values, image_grid_hws.tolist()))
            x = x.masked_scatter(places[..., None], seen)
        return self.language_model(inputs_embeds=x, use_cache=False).logits


def batch_of(length, sizes):
    """Two sequences, of which the first one holds the images' places."""
    ids = torch.full((2, length), 2)
    ids[0, 1 : 1 + sum(height * width // 4 for height, width in sizes)] = CONFIG["media_placeholder_token_id"]
    patches = sum(height * width for height, width in sizes)
    return {"input_ids": ids, "pixel_values": torch.ones(patches, 3, 4, 4), "image_grid_hws": torch.tensor(sizes)}

"""A small Kimi K2.5 and batches of several sizes for it."""

from flopwatch.model.batch import Batch
from tests.model.families.families import FAMILIES

_SEES = {"hidden_size": 80, "intermediate_size": 120, "num_hidden_layers": 3, "num_attention_heads": 4}
_SEES |= {"patch_size": 4, "pos_emb_height": 8, "pos_emb_width": 8}
_TEXT = {"model_type": "deepseek_v3", **FAMILIES["deepseek_v3"][2]}

# The class cannot split the tokens of several frames, so that each image is one.
KIMIS = {
    "kimi_k25": (
        "kimi_k25",
        {"text_config": _TEXT, "vision_config": _SEES, "projection_hidden_size": 80, "tie_word_embeddings": False}
        | {"image_token_id": 300, "video_token_id": 301},
        [Batch(2, 40, grids=((1, 4, 8), (1, 8, 4))), Batch(2, 64, grids=((1, 6, 10), (1, 4, 4), (1, 2, 10)))],
    ),
}

"""Small Gemmas with encoders of images and sounds, and batches of several sizes for each of them."""

from flopwatch.model.batch import Batch
from tests.model.families.families import FAMILIES

_TEXT, _SHARED = (FAMILIES[name][2] for name in ("gemma4_text", "gemma4_text-shared-keys"))
_SEES = {"hidden_size": 80, "intermediate_size": 120, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 16}
_SEES |= {"num_key_value_heads": 2, "patch_size": 4, "pooling_kernel_size": 2, "position_embedding_size": 32}
_HEARS = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "subsampling_conv_channels": [16, 8]}
_HEARS |= {"output_proj_dims": 48, "attention_chunk_size": 6, "attention_context_left": 5}
_IDS = {"image_token_id": 300, "video_token_id": 301, "audio_token_id": 302}

# Images of 8 and 6 tokens, filled up from 32 and 24 patches to 40; then three of 15, 4 and 5 from 60, 16 and 20.
FILLED_UP = [
    Batch(2, 40, patches=40, grids=((1, 4, 8), (1, 6, 4)), clips=0),
    Batch(2, 64, patches=60, grids=((1, 6, 10), (1, 4, 4), (1, 2, 10)), clips=0),
]
HEARD = [
    Batch(2, 40, 50, patches=40, grids=((1, 4, 8), (1, 6, 4)), clips=2),
    Batch(2, 80, 71, patches=60, grids=((1, 6, 10), (1, 4, 4), (1, 2, 10)), clips=4),
]

# name: (model_type, fields, batches)
GEMMAS = {
    "gemma4": (
        "gemma4",
        {"text_config": {**_TEXT, "use_bidirectional_attention": "vision"}, "vision_config": _SEES, **_IDS},
        FILLED_UP,
    ),
    "gemma4-hears": (
        "gemma4",
        {"text_config": _SHARED, "vision_config": {**_SEES, "use_clipped_linears": True, "standardize": True}, **_IDS}
        | {"audio_config": _HEARS},
        HEARD,
    ),
}

"""Small Gemmas with encoders of images and sounds, and batches of several sizes for each of them."""

from importlib.util import find_spec

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

_OWN_IDS = {"vocab_offset": 300, "vocab_size": 8}, {"vocab_offset": 308, "vocab_size": 12}
_HEARS3N = {"hidden_size": 64, "input_feat_size": 18, "conf_num_hidden_layers": 2, "conf_num_attention_heads": 4}
_HEARS3N |= {"conf_attention_chunk_size": 6, "conf_attention_context_left": 5, "sscp_conv_channel_size": [12, 8]}
_SMALL_IMAGES = (96, 96)  # of which its encoder, which has one size, makes 256 tokens all the same
# Sounds of 50 and 71 frames are 13 and 18 positions, of which every fourth is handed on, filled up to 6 tokens.
_IN_ONE_SIZE = [
    Batch(2, 270, image_size=_SMALL_IMAGES, images=1, clips=0),
    Batch(2, 540, 50, image_size=_SMALL_IMAGES, images=3, clips=2),
    Batch(2, 40, 71, images=0, clips=4),
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
# Whose encoder of images is timm's.
WITH_TIMM = {
    "gemma3n": (
        "gemma3n",
        {
            "text_config": FAMILIES["gemma3n_text"][2],
            "vision_config": _OWN_IDS[0],
            "audio_config": _HEARS3N | _OWN_IDS[1],
        }
        | {"image_token_id": 301, "audio_token_id": 309, "audio_soft_tokens_per_image": 6},
        _IN_ONE_SIZE,
    ),
}
GEMMAS |= WITH_TIMM if find_spec("timm") else {}

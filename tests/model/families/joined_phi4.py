"""A small Phi-4-multimodal, and batches of several sizes for it."""

from flopwatch.model.batch import Batch
from tests.model.families.families import FAMILIES

_SEES = {"hidden_size": 80, "intermediate_size": 120, "num_hidden_layers": 3, "num_attention_heads": 4}
_SEES |= {"image_size": 32, "crop_size": 32, "patch_size": 8, "image_token_id": 300}
_HEARS = {"hidden_size": 64, "intermediate_size": 96, "num_blocks": 2, "num_attention_heads": 4, "input_size": 20}
_HEARS |= {"ext_pw_out_channel": 64, "depthwise_separable_out_channel": 64, "nemo_conv_channels": 24, "kernel_size": 4}
_HEARS |= {"bias_max_distance": 30, "audio_token_id": 301}

# Tiles of 2 x 2 tokens. An image of 3 x 2 of them takes two and one for the whole image, one of 2 x 2 one less: five
# tiles for each of two images, as where a batch is filled up.
PHI4 = {
    "phi4_multimodal": (
        "phi4_multimodal",
        {**FAMILIES["phi3"][2], "vision_config": _SEES, "audio_config": _HEARS, "pad_token_id": 0},
        [
            Batch(2, 48, image_size=(32, 32), images=6, grids=((1, 3, 2), (1, 2, 2)), clips=0),
            Batch(2, 120, 90, image_size=(32, 32), images=15, grids=((1, 3, 4), (1, 1, 2), (1, 2, 2)), clips=2),
            Batch(2, 72, 203, images=0, clips=4),
        ],
    ),
}

"""Models that are measured on the meta device, against torch's own counter on real tensors made by hand."""

import json

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.measure.huggingface import estimate_of
from flopwatch.model.batch import Batch

pytestmark = pytest.mark.slow
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
HEARS = {**SMALL, "vocab_size": 32, "conv_dim": [16] * 3, "conv_kernel": [5, 3, 3], "conv_stride": [4, 2, 2]}
HEARS |= {"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
HEARS |= {"layerdrop": 0.0, "apply_spec_augment": False}
BERT = {**SMALL, "vocab_size": 32, "feature_projection_input_dim": 20, "layerdrop": 0.0, "apply_spec_augment": False}
JEPA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2, "crop_size": 32}
JEPA |= {"patch_size": 8, "frames_per_clip": 4, "pred_hidden_size": 24, "pred_num_attention_heads": 4}
JEPA |= {"pred_num_hidden_layers": 2, "pred_num_mask_tokens": 2}
DINO = {"model_type": "dinov2", **SMALL, "image_size": 28, "patch_size": 14, "num_hidden_layers": 4, "mlp_ratio": 2}
DINO |= {"out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False}
DEPTH = {"backbone_config": DINO, "reassemble_hidden_size": 32, "patch_size": 14, "neck_hidden_sizes": [8] * 4}
SEGFORMER = {"hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 2, 3, 4], "depths": [1] * 4}
SERIES = {"d_model": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 48, "num_input_channels": 3}
SERIES |= {"context_length": 32, "patch_length": 4, "patch_stride": 4, "prediction_length": 8}

# model_type: (class, fields, batch, what the class is called with).
CASES = {
    "wav2vec2": ("Wav2Vec2ForCTC", HEARS, Batch(2, source_len=1600), {"input_values": (2, 1600)}),
    "hubert": ("HubertForCTC", HEARS, Batch(2, source_len=1600), {"input_values": (2, 1600)}),
    "wavlm": ("WavLMForCTC", HEARS, Batch(2, source_len=1600), {"input_values": (2, 1600)}),
    "wav2vec2-bert": ("Wav2Vec2BertForCTC", BERT, Batch(2, source_len=60), {"input_features": (2, 60, 20)}),
    "videomae": (
        "VideoMAEForVideoClassification",
        {**SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4},
        Batch(2),
        {"pixel_values": (2, 4, 3, 32, 32)},
    ),
    "vjepa2": ("VJEPA2ForVideoClassification", JEPA, Batch(2), {"pixel_values_videos": (2, 4, 3, 32, 32)}),
    "segformer": (
        "SegformerForSemanticSegmentation",
        {**SEGFORMER, "decoder_hidden_size": 16},
        Batch(2, image_size=(64, 64)),
        {"pixel_values": (2, 3, 64, 64)},
    ),
    "depth_anything": (
        "DepthAnythingForDepthEstimation",
        {**DEPTH, "fusion_hidden_size": 8, "head_hidden_size": 8},
        Batch(2, image_size=(56, 56)),
        {"pixel_values": (2, 3, 56, 56)},
    ),
    "patchtst": ("PatchTSTForPrediction", SERIES, Batch(2), {"past_values": (2, 32, 3)}),
}
# Torch's counter takes the backward of grouped convolutions for that of whole ones.
GROUPED = ("wav2vec2", "hubert", "wavlm", "wav2vec2-bert", "segformer")


@pytest.mark.parametrize("name", CASES)
def test_what_is_measured_without_data_is_what_torchs_counter_sees_with_data(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    kind, fields, batch, shapes = CASES[name]
    config = transformers.AutoConfig.for_model(name, **fields)
    (tmp_path / "config.json").write_text(json.dumps({**config.to_dict(), "architectures": [kind]}))
    estimated = estimate_of(tmp_path, batch, attention="full")
    config._attn_implementation = "eager"  # torch's counter does not know the fused attention of CPUs
    model = getattr(transformers, kind)(config).train()
    with FlopCounterMode(display=False) as counter:
        out = model(**{each: torch.randn(shape) for each, shape in shapes.items()})
        forward = counter.get_total_flops()
        sum(each.sum() for each in out.values() if isinstance(each, torch.Tensor) and each.requires_grad).backward()
    assert estimated.parameters == model.num_parameters()
    assert estimated.forward_flops == forward
    if name not in GROUPED:
        assert estimated.training_flops == counter.get_total_flops()

"""A model from its config alone: transformers itself once, else a module that stands in for it."""

import json
import os
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from flopwatch.errors import ArgumentError, MeasurementError
from flopwatch.measure import huggingface
from flopwatch.measure.huggingface import estimate_of, notes_of
from flopwatch.measure.results import Measurement, Uncounted
from flopwatch.model.batch import Batch
from tests.model.families.composites import COMPOSITES
from tests.versions import torch_2_10

TINY = {"model_type": "tiny", "width": 4}


class Tiny(nn.Module):
    """One layer on whatever its config says that it reads."""

    def __init__(self, config):
        super().__init__()
        self.config = SimpleNamespace(**config)
        self.main_input_name = config.get("reads", "input_ids")
        self.table, self.layer = nn.Embedding(10, 4), nn.Linear(4, 6)
        self.convolution = nn.Conv2d(config.get("num_channels", 3), 2, 2, stride=2)

    def forward(self, input_ids=None, pixel_values=None, decoder_input_ids=None):
        if pixel_values is not None:
            return self.convolution(pixel_values)
        ids = input_ids if decoder_input_ids is None else torch.cat([input_ids, decoder_input_ids], 1)
        return self.layer(self.table(ids))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a config, which a stand-in for transformers builds into a `Tiny`."""

    class AutoModelForCausalLM:
        _model_mapping = {dict: Tiny}
        from_config = Tiny

    made = SimpleNamespace(
        __version__="5.0",
        logging=SimpleNamespace(set_verbosity_error=lambda: None),
        CONFIG_MAPPING={"tiny": object},
        AutoConfig=SimpleNamespace(for_model=lambda **values: values),
        AutoModelForCausalLM=AutoModelForCausalLM,
    )
    monkeypatch.setitem(sys.modules, "transformers", made)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def write(**changes):
        (tmp_path / "config.json").write_text(json.dumps({**TINY, **changes}))
        return tmp_path

    return write


def estimated(folder, batch=Batch(2, 5), **options):  # noqa: B008
    return estimate_of(folder, batch, attention="full", **options)


def test_a_model_is_built_and_counted_without_data(folder):
    result = estimated(folder())
    # 10 tokens through 4 x 6: 480 forward; the table's vectors train, so the layer has both gradients.
    assert (result.forward_flops, result.training_flops, result.hardware_flops) == (480, 3 * 480, 3 * 480)
    # 10 x 4, 4 x 6 + 6 and 2 x 3 x 4 + 2.
    assert (result.parameters, result.method, result.batch_tokens) == (96, "measured", 10)
    assert {row.name: row.forward_flops for row in result.components}["layer"] == 480


def test_images_have_the_size_of_the_batch_of_the_config_or_the_usual_one(folder):
    path = folder(reads="pixel_values", image_size=8, num_channels=1)
    # Two filters of 1 x 2 x 2, four FLOPs of each of 4 x 4 positions, three images.
    assert estimated(path, Batch(3)).forward_flops == 3 * 16 * 2 * 8
    assert estimated(path, Batch(3, image_size=(4, 8))).forward_flops == 3 * 8 * 2 * 8
    assert estimated(folder(reads="pixel_values", image_size=[4, 8]), Batch(1)).forward_flops == 8 * 2 * 24
    assert estimated(folder(reads="pixel_values"), Batch(1)).forward_flops == 112 * 112 * 2 * 24


def test_an_encoder_and_a_decoder_read_both(folder):
    # 3 and 5 tokens of 2 sequences, 48 FLOPs each.
    assert estimated(folder(is_encoder_decoder=True), Batch(2, 5, 3)).forward_flops == 16 * 48


@pytest.mark.parametrize(
    ("changes", "batch", "said"),
    [
        ({}, Batch(2), "expected --seq-len, the tokens per sequence, got none"),
        ({"is_encoder_decoder": True}, Batch(2, 5), "expected --source-len, the tokens that the encoder reads"),
    ],
)
def test_a_batch_that_lacks_what_the_model_reads_names_the_option(folder, changes, batch, said):
    with pytest.raises(ArgumentError, match=said):
        estimated(folder(**changes), batch)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "strange"}, "transformers 5.0 does not support it either"),
        ({"num_hidden_layers": 20_001}, "expected at most 20,000 for 'num_hidden_layers', got 20001"),
        ({"text_config": {"depths": [2, 50_000]}}, r"expected at most 20,000 for 'depths', got \[2, 50000\]"),
        ({"num_channels": "x"}, "transformers cannot build a 'tiny': .*"),
    ],
)
def test_what_cannot_be_built_says_why(folder, changes, said):
    with pytest.raises(MeasurementError, match=said):
        estimated(folder(**changes))


def test_sizes_that_are_no_numbers_of_objects_may_be_large(folder):
    assert estimated(folder(vocab_size=200_000, hidden_size=20_000)).forward_flops == 480


def test_a_model_without_a_class_for_training_says_so(folder):
    path = folder()
    del sys.modules["transformers"].AutoModelForCausalLM._model_mapping[dict]
    with pytest.raises(MeasurementError, match="cannot build a 'tiny': it has no class for training dict"):
        estimated(path)


def test_without_transformers_it_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MeasurementError, match="not installed; run `pip install transformers`"):
        estimated(folder())


def test_another_convention_needs_a_closed_form(folder):
    with pytest.raises(ArgumentError, match="got 6nd"):
        estimated(folder(), convention="6nd")


def test_nobody_is_asked_over_the_network_and_no_implementation_is_taken_from_the_config(folder, monkeypatch):
    given = []
    path = folder(attn_implementation="a/kernel", vision={"_experts_implementation": "b", "depth": 1})
    automatic = sys.modules["transformers"].AutoConfig
    monkeypatch.setattr(automatic, "for_model", lambda **values: given.append(values) or values)
    estimated(path)
    assert given
    assert all(each == {**TINY, "vision": {"depth": 1}} for each in given)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("lost", [{"uncounted": (Uncounted("aten.linalg_qr", 1, heavy=True),)}, {"unseen": ("a.w",)}])
def test_what_withholds_the_total_is_named(folder, monkeypatch, lost):
    monkeypatch.setattr(huggingface, "measured", lambda *inputs, **named: Measurement(1, 1, 0, "full", **lost))
    with pytest.raises(MeasurementError, match=r"Tiny uses operators that cannot be counted: a(ten\.linalg_qr|\.w)$"):
        estimated(folder())


def test_notes_say_what_was_left_out_and_what_was_taken_for_granted():
    measured = Measurement(1, 1, 0, "full", uncounted=(Uncounted("a.free", 3),), assumptions=("a check was taken",))
    assert notes_of(measured) == ("not counted: a.free, 3 call(s), no parameters involved", "a check was taken")


def test_transformers_own_model_is_the_closed_forms(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 32}
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["GPT2LMHeadModel"]}))
    # 4 tokens: q, k, v, o and the MLP 12 x 64 multiply-adds, the head 8 x 32; 16 pairs x 2 heads x 2 x 4 of the core.
    assert estimated(tmp_path, Batch(1, 4)).forward_flops == 2 * (4 * (12 * 64 + 8 * 32) + 16 * 2 * 2 * 4)


WAV2VEC2 = {"model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
WAV2VEC2 |= {"intermediate_size": 32, "vocab_size": 8, "conv_dim": [8], "conv_stride": [5], "conv_kernel": [10]}
WAV2VEC2 |= {
    "num_feat_extract_layers": 1,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


@torch_2_10
def test_seconds_of_sound_are_16_000_samples_and_no_tokens(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    (tmp_path / "config.json").write_text(json.dumps({**WAV2VEC2, "architectures": ["Wav2Vec2ForCTC"]}))
    long, same = estimated(tmp_path, Batch(2), seconds=0.05), estimated(tmp_path, Batch(2, source_len=800))
    assert (long.batch.source_len, long.batch_tokens) == (800, 0)
    assert long == same


@torch_2_10
def test_all_layers_count_also_where_the_class_alone_would_leave_some_out(tmp_path, monkeypatch):
    """Wav2Vec 2's class leaves out a tenth of its layers where the config does not say; what runs depends on chance."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    config = {**WAV2VEC2, "num_hidden_layers": 6, "architectures": ["Wav2Vec2ForCTC"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    all_of_them = estimated(tmp_path, Batch(2, source_len=800))
    for changed in ({**config, "layerdrop": 0.5}, {key: config[key] for key in config if key != "layerdrop"}):
        (tmp_path / "config.json").write_text(json.dumps(changed))
        found = estimated(tmp_path, Batch(2, source_len=800))
        assert found.training_flops == all_of_them.training_flops
        assert found.notes[-1] == "layers that layerdrop would leave out at random count as if they ran"


def test_a_model_that_hears_nothing_takes_no_seconds(folder):
    with pytest.raises(ArgumentError, match="seconds: Tiny hears no sounds"):
        estimated(folder(), seconds=3)


def test_text_alone_is_said_where_images_have_sizes_of_their_own_and_none_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    model_type, fields, _ = COMPOSITES["qwen2_vl"]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, **fields}))
    (said,) = estimated(tmp_path, Batch(2, 12)).notes
    assert said.startswith("text alone: no image is counted; pass --image-size and --images")
    assert estimated(tmp_path, Batch(2, 12, images=0)).notes == ("text alone: no image is counted",)
    assert estimated(tmp_path, Batch(2, 40, image_size=(32, 32), images=2)).notes == ()


def test_another_head_of_a_known_model_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 32}
    classes = {"architectures": ["GPT2ForTokenClassification"], "num_labels": 3}
    (tmp_path / "config.json").write_text(json.dumps({**config, **classes}))
    assert estimated(tmp_path, Batch(1, 4)).forward_flops == 2 * (4 * (12 * 64 + 8 * 3) + 16 * 2 * 2 * 4)


def test_a_token_meets_some_of_the_experts(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    config = {"model_type": "minimax_m2", "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 32}
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_local_experts": 8, "num_experts_per_tok": 3}))
    one = estimated(tmp_path, Batch(2, 4))
    # 5 of 8 experts rest in 2 layers, each of 3 matrices of 16 x 8.
    assert one.parameters - one.active_parameters == 2 * 5 * 3 * 16 * 8

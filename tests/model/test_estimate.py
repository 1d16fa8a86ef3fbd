import pytest

from flopwatch.errors import ArgumentError, UnknownDeviceError
from flopwatch.model.batch import Batch
from flopwatch.model.estimate import Plan, estimate
from flopwatch.model.families import architecture_of
from flopwatch.report.estimating import estimate as estimate_of_config
from tests.model.test_components import LLAMA
from tests.model.test_conventions import GPT3

H100 = "NVIDIA H100 80GB HBM3"


def test_time_is_work_over_count_peak_and_mfu():
    plan = Plan(H100, "bf16", count=1024, mfu=0.4, usd_per_gpu_hour=2.5)
    result = estimate(architecture_of(GPT3), Batch(1, 2048), tokens=300 * 10**9, plan=plan)
    # 3.1857e23 / (1024 x 989.4e12 x 0.4) = 786,090 s = 9.1 days; x 1024 / 3600 = 223,600 GPU-hours; x 2.5 USD.
    assert result.total_training_flops == pytest.approx(3.1857e23, rel=1e-4)
    assert result.planned.seconds == pytest.approx(786_090, rel=1e-3)
    assert result.planned.gpu_hours == pytest.approx(223_600, rel=1e-3)
    assert result.planned.usd == pytest.approx(559_000, rel=1e-3)


def test_the_rule_of_thumb_stands_beside_the_exact_count():
    result = estimate(architecture_of(GPT3), Batch(1, 2048), convention="6nd", tokens=300 * 10**9)
    assert result.total_training_flops == pytest.approx(3.14e23, rel=0.01)
    assert result.exact_total_training_flops == pytest.approx(3.1857e23, rel=1e-4)


def test_totals_are_whole_numbers_and_scale_with_tokens():
    one = estimate(architecture_of(LLAMA), Batch(2, 50), tokens=100)
    many = estimate(architecture_of(LLAMA), Batch(2, 50), tokens=10**20)
    assert one.total_training_flops == one.training_flops
    assert many.total_training_flops == one.training_flops * 10**18
    assert isinstance(many.training_flops_per_token, int)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mfu": 0.0}, "expected an MFU above 0"),
        ({"mfu": 1e-320}, "expected an MFU above 0"),
        ({"mfu": 1.2}, "expected an MFU above 0 and at most 1"),
        ({"mfu": float("nan")}, "expected an MFU"),
        ({"count": 0}, "at least one GPU"),
        ({"usd_per_gpu_hour": -1.0}, "not negative"),
        ({"usd_per_gpu_hour": 1e308}, "below 1e60"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes, said):
    plan = Plan(**{"gpu": H100, "dtype": "bf16", "count": 8, "mfu": 0.4, **changes})
    with pytest.raises(ArgumentError, match=said):
        estimate(architecture_of(LLAMA), Batch(1, 50), plan=plan)


def test_an_unknown_gpu_is_refused():
    with pytest.raises(UnknownDeviceError, match="no peak known"):
        estimate(architecture_of(LLAMA), Batch(1, 50), plan=Plan("H1000", "bf16", 1, 0.4))


def test_a_batch_without_tokens_is_refused():
    with pytest.raises(ArgumentError, match="at least one token, got 0 x 50"):
        estimate(architecture_of(LLAMA), Batch(0, 50))


GEMMA_3 = {
    "model_type": "gemma3",
    "mm_tokens_per_image": 256,
    "text_config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "vocab_size": 128, "head_dim": 16},
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    | {"patch_size": 14, "image_size": 224},
}
PIXTRAL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
MISTRAL_3 = {
    "model_type": "mistral3",
    "spatial_merge_size": 2,
    "text_config": {**GEMMA_3["text_config"], "model_type": "mistral"},
    "vision_config": {**PIXTRAL, "model_type": "pixtral", "patch_size": 14, "image_size": 56, "head_dim": 16},
}


def test_images_that_do_not_fit_the_text_are_refused():
    architecture = architecture_of(GEMMA_3)
    with pytest.raises(ArgumentError, match="images stand for 768 tokens of the batch's text, which has 600: expected"):
        estimate(architecture, Batch(2, 300, images=3))
    with pytest.raises(ArgumentError, match="images stand for 256 tokens of the batch's text, which has 255"):
        estimate(architecture, Batch(1, 255))
    assert estimate(architecture, Batch(1, 255, images=0)).notes == ("text alone: no image is counted",)
    causal, full = (estimate(architecture, Batch(1, 256), attention=each) for each in ("causal", "full"))
    # All 256 tokens are one image, which see each other: 256 x 256 pairs either way.
    assert causal.forward_flops == full.forward_flops


def test_images_of_any_size_are_refused_where_they_do_not_fit_and_not_counted_without_a_size():
    architecture = architecture_of(MISTRAL_3)
    alone = estimate(architecture, Batch(2, 64))
    # Per token of text: q and o 64 x 64, k and v 64 x 32, three of 64 x 128 in two layers, the head 64 x 128. The core
    # has 4 heads of 16, two products, over 64 x 65 / 2 pairs, two sequences, two layers.
    matrices = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128) + 64 * 128
    assert alone.forward_flops == 2 * 128 * matrices + 2 * 2 * 2 * 4 * (16 + 16) * 2080
    assert alone.notes[0].startswith("text alone: no image is counted; pass --image-size")
    with pytest.raises(ArgumentError, match=r"expected the size of the 3 images \(--image-size\), got none"):
        estimate(architecture, Batch(2, 64, images=3))
    # 280 / 28 = 10 tokens a side.
    with pytest.raises(ArgumentError, match="images stand for 200 tokens of the batch's text, which has 128"):
        estimate(architecture, Batch(2, 64, images=2, image_size=(280, 280)))
    assert estimate(architecture, Batch(2, 100, images=2, image_size=(280, 280))).notes == ()


HEARS = {"d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "num_mel_bins": 4}
TEXT = {**GEMMA_3["text_config"], "model_type": "qwen2"}
QWEN_2_AUDIO = {"model_type": "qwen2_audio", "text_config": TEXT, "audio_config": {**HEARS, "max_source_positions": 50}}


def test_sounds_are_filled_up_to_what_whispers_encoder_takes():
    architecture = architecture_of(QWEN_2_AUDIO)
    whole, short, unsaid = (estimate(architecture, Batch(2, 64, frames)) for frames in (100, 30, 0))
    assert whole.forward_flops == short.forward_flops == unsaid.forward_flops
    assert (short.batch.source_len, unsaid.batch.source_len, unsaid.notes) == (100, 100, ())
    alone = estimate(architecture, Batch(2, 64, clips=0))
    assert alone.notes == ("text alone: no sound is counted",)
    # Convolutions of 3 over 4 x 100 and 8 x 50, four matrices of 8 x 8 and two of 8 x 16 at 50 positions, two products
    # over 50 x 50 pairs, and 25 times 8 x 64, for each of two sounds.
    hears = 3 * 4 * 8 * 100 + 3 * 8 * 8 * 50 + (4 * 64 + 2 * 128) * 50 + 2 * 8 * 2500 + 25 * 8 * 64
    assert whole.forward_flops - alone.forward_flops == 2 * 2 * hears
    with pytest.raises(ArgumentError, match="sounds of at most 100 frames, 1 seconds, got 101; pass longer ones as"):
        estimate(architecture, Batch(2, 64, 101))


QWEN_OMNI = {
    "model_type": "qwen2_5_omni",
    "thinker_config": {
        "text_config": TEXT,
        "audio_config": {**HEARS, "output_dim": 64},
        "vision_config": {"depth": 1, "hidden_size": 8, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 64},
    },
}


def test_a_model_that_sees_and_hears_counts_what_is_given_and_says_when_that_is_text_alone():
    architecture = architecture_of(QWEN_OMNI)
    alone, heard, seen = (
        estimate(architecture, each)
        for each in (Batch(2, 64), Batch(2, 64, 100), Batch(2, 64, images=1, image_size=(56, 56)))
    )
    assert alone.notes[0].startswith("text alone: no image and no sound is counted; pass --image-size")
    assert (heard.notes, seen.notes) == ((), ())
    # One piece of 100 frames: convolutions at 100 and 50 positions, the same layer, and 25 times 8 x 64.
    hears = 3 * 4 * 8 * 100 + 3 * 8 * 8 * 50 + (4 * 64 + 2 * 128) * 50 + 2 * 8 * 2500 + 25 * 8 * 64
    assert heard.forward_flops - alone.forward_flops == 2 * 2 * hears
    # A sequence of 3000 frames is 750 tokens, 16 more are two images of 112 pixels.
    with pytest.raises(ArgumentError, match="images and sounds stand for 1,532 tokens of the batch's text, which has"):
        estimate(architecture, Batch(2, 760, 3000, images=2, image_size=(112, 112)))


def test_granite_speech_reads_fifty_pairs_of_frames_a_second_and_attends_to_those_that_there_are():
    """Two sounds of 0.8 seconds are 40 pairs of frames: 16, 16 and 8 attend among themselves, 2 x 256 + 64 pairs."""
    speech = {"input_dim": 20, "num_layers": 1, "hidden_dim": 48, "num_heads": 4, "dim_head": 20, "context_size": 16}
    former = {"hidden_size": 56, "num_hidden_layers": 1, "num_attention_heads": 4, "encoder_hidden_size": 48}
    config = {"model_type": "granite_speech", "text_config": {**TEXT, "model_type": "granite"}}
    config |= {"encoder_config": speech, "projector_config": {**former, "intermediate_size": 99}}
    result = estimate_of_config(config, seq_len=64, batch=2, seconds=0.8)
    assert (result.batch.source_len, result.notes) == (40, ())
    flops = {row.name: row.forward_flops for row in result.components}
    # Products of queries with keys, with values and with distances, of 20 for each of four heads, in two sounds.
    assert flops["model.encoder.layers.attn.core"] == 2 * 2 * 4 * 20 * 2 * 576
    assert flops["model.encoder.layers.attn.relative core"] == 2 * 4 * 20 * 2 * 576
    alone = estimate_of_config(config, seq_len=64, batch=2)
    assert alone.notes == ("text alone: no sound is counted; pass --seconds of the sound of each sequence",)


def test_a_sequence_beyond_learned_positions_is_refused():
    with pytest.raises(ArgumentError, match="2048 learned positions, got sequences of 2049"):
        estimate(architecture_of(GPT3), Batch(1, 2049))


def test_multiply_adds_take_as_long_as_the_flops_that_they_are():
    plan = Plan("NVIDIA H100 80GB HBM3", "bf16", 8, 0.4)
    exact, macs = (
        estimate(architecture_of(LLAMA), Batch(1, 100), convention=each, plan=plan) for each in ("model", "macs")
    )
    assert 2 * macs.training_flops == exact.training_flops
    assert macs.planned.seconds == exact.planned.seconds


def test_images_are_planned_in_samples():
    fields = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 99}
    vit = architecture_of({"model_type": "vit", "image_size": 32, "patch_size": 8, **fields})
    result = estimate(vit, Batch(4), samples=100)
    assert result.total_training_flops == 25 * result.training_flops
    assert result.training_flops_per_token is None
    with pytest.raises(ArgumentError, match="has no tokens; pass the run in samples"):
        estimate(vit, Batch(4), tokens=100)
    with pytest.raises(ArgumentError, match="a vit reads images alone; expected at least one, got none"):
        estimate(vit, Batch(4, images=0))


def test_checkpointing_adds_to_hardware_flops_alone():
    plain, again = (
        estimate(architecture_of(LLAMA), Batch(1, 100), checkpointing=each) for each in ("none", "reentrant")
    )
    assert plain.hardware_flops == plain.training_flops == again.training_flops < again.hardware_flops

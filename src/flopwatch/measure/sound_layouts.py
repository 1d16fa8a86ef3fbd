"""What classes read that hear or speak and whose layout their arguments do not tell: by `model_type`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from flopwatch.measure.layouts import Inputs
from flopwatch.measure.maker import Maker

_HOP = 320  # samples of a frame of the features that stand beside a codec's sound


def _clap(make: Maker) -> Inputs:
    audio = make.config.audio_config
    channels = 4 if audio.enable_fusion else 1
    return {
        "input_ids": make.words,
        "input_features": make.ones(make.clips, channels, make.source, audio.num_mel_bins),
        "is_longer": make.ids(make.clips, 1, value=0),
    }


def _dia(make: Maker) -> Inputs:
    channels = make.config.decoder_config.num_channels
    return {
        "input_ids": make.ids(make.sequences, make.source),
        "decoder_input_ids": make.ids(make.sequences, make.length, channels),
    }


def _fastspeech2(make: Maker) -> Inputs:
    """Phonemes, of which each lasts as many frames as fit into `source_len`; by default one."""
    config = getattr(make.config, "model_config", make.config)
    lasts = max(make.batch.source_len // make.length, 1)
    each = (make.sequences, make.length)
    return {
        "input_ids": make.words,
        "spectrogram_labels": make.ones(make.sequences, make.length * lasts, config.num_mel_bins),
        "duration_labels": make.ids(*each, value=lasts),
        "pitch_labels": make.ones(*each, 1),
        "energy_labels": make.ones(*each, 1),
    }


def _gemma3n_audio(make: Maker) -> Inputs:
    silent = torch.zeros(make.clips, make.source, dtype=torch.bool)
    return {"audio_mel": make.ones(make.clips, make.source, make.config.input_feat_size), "audio_mel_mask": silent}


def _stacked_frames(make: Maker) -> Inputs:
    """Several frames of the spectrogram in each."""
    values = make.config.num_mel_bins * make.config.num_stacked_frames
    features = make.ones(make.clips, make.source, values)
    return {"input_features": features, "input_features_mask": make.ids(make.clips, make.source, value=1)}


def _gemma4_audio(make: Maker) -> Inputs:
    return {
        "input_features": make.ones(make.clips, make.source, 128),
        "attention_mask": torch.ones(make.clips, make.source, dtype=torch.bool),
    }


def _voxtral_realtime(make: Maker) -> Inputs:
    """Sounds as long as the text: so many frames are one token."""
    frames = make.config.audio_length_per_tok * make.length
    features = make.ones(make.sequences, make.config.audio_config.num_mel_bins, frames)
    return {"input_ids": make.words, "input_features": features}


def _qwen3_asr_encoder(make: Maker) -> Inputs:
    """Frames last, filled up to whole windows of it."""
    whole = 2 * make.config.n_window
    frames = -(-make.source // whole) * whole
    mask = make.ids(make.clips, frames, value=1)
    mask[:, make.source :] = 0
    features = make.ones(make.clips, make.config.num_mel_bins, frames)
    return {"input_features": features, "input_features_mask": mask}


def _latents(make: Maker) -> Inputs:
    config = make.config
    return {"latents": make.ones(make.clips, getattr(config, "latent_dim", None) or config.hidden_size, make.source)}


def _pop2piano(make: Maker) -> Inputs:
    return {
        "input_features": make.ones(make.clips, make.source, make.config.d_model),
        "decoder_input_ids": make.words,
    }


def _sound_in_a_channel(make: Maker) -> Inputs:
    return {"input_values": make.ones(make.clips, 1, make.source)}


def _sound_and_text(make: Maker) -> Inputs:
    return {"input_ids": make.words, **_sound_in_a_channel(make)}


def _hidden_sound(make: Maker) -> Inputs:
    return {"hidden_states": make.ones(make.clips, 1, make.source)}


def _hidden_latents(make: Maker) -> Inputs:
    return {"hidden_states": make.ones(make.clips, make.config.hidden_size, make.source)}


def _with_features(make: Maker) -> Inputs:
    """A codec's sound, and features of 320 samples each for its semantic model."""
    bins = make.config.semantic_model_config.feature_projection_input_dim
    return {
        "input_values": make.ones(make.clips, 1, make.source // _HOP * _HOP),
        "input_features": make.ones(make.clips, make.source // _HOP, bins),
    }


def _embedded(make: Maker) -> Inputs:
    return {"inputs_embeds": make.ones(make.sequences, make.length, make.config.hidden_size)}


def _kyutai(make: Maker) -> Inputs:
    return {"input_ids": make.ids(make.sequences, make.length, make.config.num_codebooks + 1)}


SOUND_LAYOUTS: Mapping[str, Callable[[Maker], Inputs]] = MappingProxyType(
    {
        "clap": _clap,
        "dia": _dia,
        "fastspeech2_conformer": _fastspeech2,
        "fastspeech2_conformer_with_hifigan": _fastspeech2,
        "fun_asr_nano_encoder": _stacked_frames,
        "gemma3n_audio": _gemma3n_audio,
        "gemma4_audio": _gemma4_audio,
        "kyutai_speech_to_text": _kyutai,
        "mimi_decoder": _latents,
        "nemotron3_5_transcribe_word_timestamp": _embedded,
        "neucodec": _with_features,
        "pe_audio": _sound_and_text,
        "pe_audio_encoder": _sound_in_a_channel,
        "pocket_tts_audio_tokenizer_decoder": _latents,
        "pop2piano": _pop2piano,
        "qwen3_asr_encoder": _qwen3_asr_encoder,
        "vibevoice_acoustic_tokenizer": _sound_in_a_channel,
        "vibevoice_acoustic_tokenizer_decoder": _hidden_latents,
        "vibevoice_acoustic_tokenizer_encoder": _hidden_sound,
        "voxtral_realtime": _voxtral_realtime,
        "xcodec2": _with_features,
    }
)

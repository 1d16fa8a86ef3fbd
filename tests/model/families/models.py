"""Hugging Face models of the families, and inputs of a batch's shape for them."""

import torch
import transformers

from flopwatch.model.batch import Batch
from tests.model.families.families import FAMILIES

transformers.logging.set_verbosity_error()
AUTO = {
    "lm": transformers.AutoModelForCausalLM,
    "mlm": transformers.AutoModelForMaskedLM,
    "seq2seq": transformers.AutoModelForSeq2SeqLM,
    "speech": transformers.AutoModelForSpeechSeq2Seq,
    "image": transformers.AutoModelForImageClassification,
    "clip": transformers.AutoModel,
    "features": transformers.AutoModel,
    "ctc": transformers.AutoModelForCTC,
    "image_text": transformers.AutoModelForImageTextToText,
}
MEL_FRAMES = 100


def config_of(name):
    model_type, _, fields = FAMILIES[name]
    return transformers.AutoConfig.for_model(model_type, **fields)


def build(name, config=None, attention="eager", device="meta"):
    """The model of a family; `None` where it has no such implementation of attention."""
    config = config or config_of(name)
    with torch.device(device):
        if config.model_type == "deit":  # the Auto class would take the variant with a teacher
            config._attn_implementation = attention
            return transformers.DeiTForImageClassification(config)
        try:
            return AUTO[FAMILIES[name][1]].from_config(config, attn_implementation=attention)
        except ValueError as error:
            if "does not support an attention implementation" in str(error):
                return None
            raise


def batch_of(name, seq_len, sequences=2):
    """A batch of a family; of images there are more for the longer length, since they have none."""
    task = FAMILIES[name][1]
    if task in ("lm", "mlm"):
        return Batch(sequences, seq_len)
    if task == "seq2seq":
        return Batch(sequences, seq_len, seq_len - 7)
    if task == "speech":
        return Batch(sequences, seq_len, MEL_FRAMES)
    if task == "ctc":
        return Batch(sequences, source_len=3 * seq_len)
    fields = FAMILIES[name][2]
    side = fields.get("image_size") or fields["vision_config"]["image_size"]
    if task == "clip":
        return Batch(sequences, seq_len, image_size=(side, side))
    return Batch(seq_len // 30, image_size=(side, side))


def inputs_of(name, batch):
    """What the model of a family is called with."""
    task = FAMILIES[name][1]
    tokens = torch.zeros(batch.sequences, batch.seq_len, dtype=torch.long)
    if task == "lm":
        return {"input_ids": tokens, "use_cache": False}
    if task == "mlm":
        return {"input_ids": tokens}
    if task == "seq2seq":
        source = torch.zeros(batch.sequences, batch.source_len, dtype=torch.long)
        return {"input_ids": source, "decoder_input_ids": tokens}
    if task == "speech":
        frames = torch.zeros(batch.sequences, FAMILIES[name][2]["num_mel_bins"], batch.source_len)
        return {"input_features": frames, "decoder_input_ids": tokens}
    if task == "ctc":
        mels = FAMILIES[name][2]["encoder_config"]["num_mel_bins"]
        return {"input_features": torch.zeros(batch.sequences, batch.source_len, mels)}
    pixels = torch.zeros(batch.sequences, 3, *batch.image_size)
    return {"pixel_values": pixels, **({"input_ids": tokens} if task == "clip" else {})}

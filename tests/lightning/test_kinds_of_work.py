"""Real fits of what people train beside plain language models: images, encoders, adapters, packed batches."""

import pytest
import pytorch_lightning as pl
import torch
import transformers
from pytorch_lightning.callbacks import BaseFinetuning
from torch import nn
from torch.utils.data import DataLoader

from flopwatch import FlopWatch
from flopwatch.lightning.counting.discovery import FoundModel, trainable_of
from flopwatch.measure import measure
from flopwatch.model.backward import EVERYTHING, recomputation, training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.run.run_file import read_run
from tests.lightning.models import MemoryLogger, trainer
from tests.model.families.families import FAMILIES
from tests.model.families.models import AUTO, config_of
from tests.versions import torch_2_9_for_groups

PEAK = 1e12


class Model(pl.LightningModule):
    """Any Hugging Face model on batches that are its own arguments."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, batch_idx):
        return self.model(**batch)[0].float().mean()

    def configure_optimizers(self):
        return torch.optim.SGD([each for each in self.parameters() if each.requires_grad], 1e-3)


def fit(folder, model, batches, watch=None, **changes):
    data = batches if isinstance(batches, DataLoader) else DataLoader(batches, batch_size=None)
    trainer(folder, watch or FlopWatch(), **{"max_steps": len(batches), **changes}).fit(model, data)
    return read_run(folder).segments[-1]


def hugging_face(name):
    config = config_of(name)
    if config.is_encoder_decoder:
        config.decoder_start_token_id = config.pad_token_id = 0
    attention = {} if name == "resnet" else {"attn_implementation": "sdpa"}
    return AUTO[FAMILIES[name][1]].from_config(config, **attention)


TOKENS = torch.ones(2, 40, dtype=torch.long)
BATCHES = {
    "bert": ({"input_ids": TOKENS}, Batch(2, 40)),
    "mixtral": ({"input_ids": TOKENS}, Batch(2, 40)),
    "deepseek_v3": ({"input_ids": TOKENS}, Batch(2, 40)),
    "vit": ({"pixel_values": torch.zeros(3, 3, 32, 32)}, Batch(3, image_size=(32, 32))),
    "resnet": ({"pixel_values": torch.zeros(3, 3, 64, 64)}, Batch(3, image_size=(64, 64))),
    "t5": ({"input_ids": TOKENS[:, :30], "labels": TOKENS}, Batch(2, 40, 30)),
    "clip": (
        {"input_ids": TOKENS, "pixel_values": torch.zeros(2, 3, 32, 32)},
        Batch(2, 40, image_size=(32, 32), images=2),
    ),
    "whisper": ({"input_features": torch.zeros(2, 20, 100), "labels": TOKENS}, Batch(2, 40, 100)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_every_kind_of_model_is_counted_and_verified_without_being_told(tmp_path, name):
    batch, shape = BATCHES[name]
    run = fit(tmp_path, Model(hugging_face(name)), [batch] * 3)
    assert run.work.verification == "verified", run.work.note
    assert run.work.method == "config"
    expected = training_flops(architecture_of(config_of(name)), shape)
    assert run.end.totals.counts.flops == run.end.totals.counts.hardware_flops == 3 * expected
    assert run.end.totals.counts.samples == 3 * shape.sequences
    assert run.end.totals.counts.tokens == (3 * architecture_of(config_of(name)).tokens(shape) or None)


class ConvNet(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = nn.functional.cross_entropy(self.body(images), labels)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_custom_convnet_is_measured_with_no_configuration(tmp_path):
    sizes = [4, 4, 2]
    batches = [(torch.zeros(size, 3, 8, 8), torch.zeros(size, dtype=torch.long)) for size in sizes]
    logger = MemoryLogger()
    watch = FlopWatch(peak_flops_per_second=PEAK, every_n_steps=1)
    run = fit(tmp_path, ConvNet(), batches, watch, logger=logger)
    # An image: 36 positions x 8 x 27 multiply-adds forward, as much for the weights, none for the input; the layer
    # 288 x 10, three times.
    per_image = 2 * (2 * 36 * 8 * 27 + 3 * 288 * 10)
    assert run.work.verification == "watched"
    assert run.end.totals.counts.flops == sum(sizes) * per_image
    assert (run.end.totals.counts.samples, run.end.totals.counts.tokens) == (sum(sizes), None)
    assert [window.counts.flops for window in run.windows] == [size * per_image for size in sizes]
    assert "perf/mfu" in logger.ours()[-1][1]
    assert "perf/tokens_per_sec" not in logger.ours()[-1][1]
    assert sum(row.forward_flops for row in run.work.components) == run.work.forward_flops


def test_a_graph_network_is_measured(tmp_path):
    class GraphNet(ConvNet):
        def __init__(self):
            super().__init__()
            self.body = nn.ModuleList([nn.Linear(5, 8), nn.Linear(8, 3)])

        def training_step(self, batch, batch_idx):
            x, edges = batch
            for layer in self.body:
                x = layer(torch.zeros_like(x).index_add(0, edges[1], x[edges[0]]))
            return x.mean()

    batches = [(torch.zeros(7, 5), torch.zeros(2, 11, dtype=torch.long))] * 2
    run = fit(tmp_path, GraphNet(), batches)
    # 7 nodes: 5 x 8 forward and weights, 8 x 3 three times.
    assert run.end.totals.counts.flops == 2 * 7 * 2 * (2 * 40 + 3 * 24)


def test_two_optimizers_that_take_turns_are_measured_as_they_train(tmp_path):
    class Gan(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.generator, self.critic = nn.Linear(8, 8), nn.Linear(8, 1)

        def turn(self, optimizer, made):
            loss = self.critic(made).mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.untoggle_optimizer(optimizer)

        def training_step(self, batch, batch_idx):
            generating, judging = self.optimizers()
            self.toggle_optimizer(generating)
            self.turn(generating, self.generator(batch))
            self.toggle_optimizer(judging)
            self.turn(judging, self.generator(batch).detach())

        def configure_optimizers(self):
            return [torch.optim.SGD(each.parameters(), 0.1) for each in (self.generator, self.critic)]

    run = fit(tmp_path, Gan(), [torch.zeros(4, 8)] * 3, max_steps=6)
    # 4 rows, 2 FLOPs a multiply-add. The generator's turn: 64 forward, 8 forward, back through the critic 8 (its own
    # weights are off), 64 for the generator's. The critic's: 64 and 8 forward, 8 for its weights.
    assert run.work.verification == "watched"
    assert run.end.totals.counts.flops == 3 * 4 * 2 * ((64 + 8 + 8 + 64) + (64 + 8 + 8))


@torch_2_9_for_groups
def test_a_head_that_makes_fewer_logits_than_tokens_is_measured(tmp_path):
    class LastLogit(Model):
        def training_step(self, batch, batch_idx):
            return self.model(**batch, logits_to_keep=1)[0].mean()

    run = fit(tmp_path, LastLogit(hugging_face("llama")), [{"input_ids": TOKENS}] * 3)
    whole = training_flops(architecture_of(config_of("llama")), Batch(2, 40))
    assert run.work.verification == "watched"
    # 78 of 80 rows never reach the 64 x 320 head, in any of its three products.
    assert run.end.totals.counts.flops == 3 * (whole - 3 * 2 * 78 * 64 * 320)


@torch_2_9_for_groups
def test_a_reference_pass_of_the_same_model_and_a_sample_for_the_log_count(tmp_path):
    class Reference(Model):
        def training_step(self, batch, batch_idx):
            with torch.no_grad():
                reference = self.model(**batch)[0]
            return (self.model(**batch)[0] - reference).pow(2).mean()

    class Sampling(Model):
        def training_step(self, batch, batch_idx):
            with torch.no_grad():
                self.model(batch["input_ids"][:1, :5])
            return super().training_step(batch, batch_idx)

    architecture, batches = architecture_of(config_of("llama")), [{"input_ids": TOKENS}] * 2
    forward, training = architecture.forward_flops(Batch(2, 40)), training_flops(architecture, Batch(2, 40))
    run = fit(tmp_path / "reference", Reference(hugging_face("llama")), batches)
    assert run.work.verification == "watched"
    assert run.end.totals.counts.flops == 2 * (forward + training)
    run = fit(tmp_path / "sampling", Sampling(hugging_face("llama")), batches)
    assert run.work.verification == "watched"
    assert run.end.totals.counts.flops == 2 * (training + architecture.forward_flops(Batch(1, 5)))


def test_images_that_reach_the_model_otherwise_than_the_batch_holds_them_are_measured(tmp_path):
    class Views(Model):
        def training_step(self, batch, batch_idx):
            return self.model(torch.cat([batch[0], batch[0].flip(-1)]))[0].mean()

    batches = [(torch.zeros(3, 3, 32, 32), torch.zeros(3, dtype=torch.long))] * 2
    run = fit(tmp_path, Views(hugging_face("vit")), batches)
    assert run.work.verification == "watched"
    expected = training_flops(architecture_of(config_of("vit")), Batch(6, image_size=(32, 32)))
    assert run.end.totals.counts.flops == 2 * expected


@torch_2_9_for_groups
def test_a_loss_that_does_not_come_from_the_logits_has_no_backward_through_the_head(tmp_path):
    class Embeds(Model):
        def training_step(self, batch, batch_idx):
            return self.model(**batch, output_hidden_states=True).hidden_states[-1].mean()

    run = fit(tmp_path, Embeds(hugging_face("llama")), [{"input_ids": TOKENS}] * 2)
    # The 64 x 320 head runs on 80 tokens, and neither of its two gradients is computed.
    whole = training_flops(architecture_of(config_of("llama")), Batch(2, 40))
    assert run.end.totals.counts.flops == 2 * (whole - 2 * 2 * 80 * 64 * 320)


def test_switches_beside_the_tensors_tell_batches_apart(tmp_path):
    class Switched(ConvNet):
        def training_step(self, batch, batch_idx):
            out = self.body(batch["x"])
            return out.mean() if batch["task"] == "once" else (out + self.body(batch["x"])).mean()

    batches = [{"x": torch.zeros(2, 3, 8, 8), "task": task} for task in ("once", "twice", "once")]
    run = fit(tmp_path, Switched(), batches)
    assert run.end.totals.counts.flops == 4 * 2 * 2 * (2 * 36 * 8 * 27 + 3 * 288 * 10)


@torch_2_9_for_groups
@pytest.mark.parametrize("kept_back", [False, True])
def test_documents_that_the_model_is_not_told_of_do_not_count(tmp_path, kept_back):
    class KeepsBack(Model):
        def training_step(self, batch, batch_idx):
            return self.model(batch["input_ids"])[0].mean()

    positions = torch.arange(20).repeat(2, 2)
    name, kind = ("llama", KeepsBack) if kept_back else ("falcon", Model)
    batches = [{"input_ids": TOKENS, "position_ids": positions}] * 2
    run = fit(tmp_path, kind(hugging_face(name)), batches)
    assert run.work.verification == "verified"
    assert run.end.totals.counts.flops == 2 * training_flops(architecture_of(config_of(name)), Batch(2, 40))


@torch_2_9_for_groups
def test_cumulative_lengths_alone_are_not_taken_for_one_document(tmp_path):
    batches = [{"input_ids": TOKENS, "cu_seq_lens_q": torch.tensor([0, 40, 80], dtype=torch.int32)}] * 2

    class Drops(Model):
        def training_step(self, batch, batch_idx):
            return self.model(batch["input_ids"])[0].mean()

    run = fit(tmp_path, Drops(hugging_face("llama")), batches)
    # The model is not told of them, and PyTorch's attention is told to be causal.
    assert run.end.totals.counts.flops == 2 * training_flops(architecture_of(config_of("llama")), Batch(2, 40))
    assert "cu_seqlens" in run.work.note


def test_a_mask_of_its_own_is_counted_in_full_and_that_is_said(tmp_path):
    batches = [{"input_ids": TOKENS, "attention_mask": torch.zeros(2, 1, 40, 40)}] * 2
    architecture = architecture_of(config_of("llama")).with_full_attention()
    for attention in ("causal", "full"):
        run = fit(tmp_path / attention, Model(hugging_face("llama")), batches, FlopWatch(attention=attention))
        assert run.end.totals.counts.flops == 2 * training_flops(architecture, Batch(2, 40))
        assert run.work.verification == ("watched" if attention == "causal" else "verified")
    assert "all pairs of mask tensors count" in read_run(tmp_path / "causal").segments[-1].work.note


def test_padding_is_computed_work_and_told_from_useful_tokens(tmp_path):
    mask = torch.ones(2, 40, dtype=torch.long)
    mask[1, 25:] = 0
    run = fit(tmp_path, Model(hugging_face("llama")), [{"input_ids": TOKENS, "attention_mask": mask}] * 4)
    assert run.end.totals.counts.tokens == 4 * 80
    assert run.end.totals.counts.useful_tokens == 4 * 65
    assert run.end.totals.counts.flops == 4 * training_flops(architecture_of(config_of("llama")), Batch(2, 40))


@torch_2_9_for_groups
@pytest.mark.parametrize("use_cache", [False, True])
def test_packed_documents_attend_within_themselves_where_the_model_sees_them(tmp_path, use_cache):
    positions = torch.cat([torch.arange(length) for length in (10, 30, 25, 15)]).view(2, 40)
    batch = {"input_ids": TOKENS, "position_ids": positions, "use_cache": use_cache}
    run = fit(tmp_path, Model(hugging_face("llama")), [batch] * 3)
    architecture = architecture_of(config_of("llama"))
    whole = training_flops(architecture, Batch(2, 40))
    # 3 layers x 4 heads x 16 wide x 2 products x 2 FLOPs = 768 a pair, three times in training.
    pairs = sum(length * (length + 1) // 2 for length in (10, 30, 25, 15)) - 2 * 40 * 41 // 2
    # With a cache transformers does not look for documents, and they attend to each other.
    assert run.end.totals.counts.flops == 3 * (whole if use_cache else whole + 3 * 768 * pairs)
    assert run.work.verification == "verified"


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_shows_in_hfu(tmp_path, reentrant):
    model = hugging_face("llama")
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    logger = MemoryLogger()
    watch = FlopWatch(peak_flops_per_second=PEAK, every_n_steps=2)
    run = fit(tmp_path, Model(model), [{"input_ids": TOKENS}] * 4, watch, logger=logger)
    architecture, batch = architecture_of(config_of("llama")), Batch(2, 40)
    model_flops = training_flops(architecture, batch)
    again = recomputation(architecture, batch, "reentrant" if reentrant else "non-reentrant").flops
    totals = run.end.totals
    assert (totals.counts.flops, totals.counts.hardware_flops) == (4 * model_flops, 4 * (model_flops + again))
    last = logger.ours()[-1][1]
    assert last["perf/hfu"] / last["perf/mfu"] == pytest.approx(1 + again / model_flops)


def test_checkpointing_that_nobody_announced_makes_hardware_flops_unknown_and_leaves_model_flops(tmp_path):
    model = hugging_face("llama")
    forward = type(model.model.layers[0]).forward

    class Secret(type(model.model.layers[0])):
        def forward(self, hidden_states, **named):
            return torch.utils.checkpoint.checkpoint(
                lambda x: forward(self, x, **named), hidden_states, use_reentrant=False
            )

    for layer in model.model.layers:
        layer.__class__ = Secret
    run = fit(tmp_path, Model(model), [{"input_ids": TOKENS}] * 2)
    assert run.work.verification == "verified"
    assert run.end.totals.counts.flops == 2 * training_flops(architecture_of(config_of("llama")), Batch(2, 40))
    assert run.end.totals.counts.hardware_flops is None


def test_an_optimizer_that_multiplies_matrices_is_hardware_work_by_the_step(tmp_path):
    watch = FlopWatch(optimizer_flops=1000)
    batches = [{"input_ids": TOKENS}] * 4
    run = fit(tmp_path, Model(hugging_face("llama")), batches, watch, max_steps=2, accumulate_grad_batches=2)
    assert run.end.totals.counts.hardware_flops == run.end.totals.counts.flops + 2 * 1000


def test_lora_by_peft_is_counted_by_closed_form(tmp_path):
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(hugging_face("llama"), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    run = fit(tmp_path, Model(adapted), [{"input_ids": TOKENS}] * 3)
    assert run.work.verification == "verified", run.work.note
    found = FoundModel(architecture_of(config_of("llama")), "", adapted)
    expected = training_flops(found.architecture, Batch(2, 40), trainable_of(found))
    assert (
        run.end.totals.counts.flops == 3 * expected < 3 * training_flops(found.architecture, Batch(2, 40), EVERYTHING)
    )
    assert run.work.trainable_parameters == 3 * 4 * (2 * 64 + 64 + 32)
    adapters = run.work.components[-1]
    # Three layers, rank 4: q_proj from 64 to 64, v_proj from 64 to 32.
    assert (adapters.name, adapters.parameters) == ("adapters", 3 * 4 * (2 * 64 + 64 + 32))


def test_what_a_callback_thaws_between_epochs_counts_from_that_epoch_on(tmp_path, caplog):
    class Thaw(BaseFinetuning):
        def freeze_before_training(self, module):
            self.freeze(module.model.model)

        def finetune_function(self, module, epoch, optimizer):
            if epoch == 1:
                self.unfreeze_and_add_param_group(module.model.model, optimizer, lr=1e-3)

    model = Model(hugging_face("llama"))
    data = DataLoader([{"input_ids": TOKENS}] * 3, batch_size=None)
    one = trainer(tmp_path, Thaw(), FlopWatch(every_n_steps=1), max_steps=-1, max_epochs=2)
    one.fit(model, data)
    run = read_run(tmp_path).segments[-1]
    architecture, batch = architecture_of(config_of("llama")), Batch(2, 40)
    head = 2 * 80 * 64 * 320
    frozen = architecture.forward_flops(batch) + head
    assert [window.counts.flops for window in run.windows] == [frozen] * 3 + [training_flops(architecture, batch)] * 3
    assert "end here" not in caplog.text


def test_a_new_shape_in_every_batch_is_counted(tmp_path):
    batches = [(torch.zeros(size, 3, 8, 8), torch.zeros(size, dtype=torch.long)) for size in range(1, 7)]
    run = fit(tmp_path, ConvNet(), batches)
    assert run.end.totals.counts.flops == 21 * 2 * (2 * 36 * 8 * 27 + 3 * 288 * 10)
    assert run.end.totals.counts.samples == 21
    assert run.work.verification == "watched"


def test_a_deep_model_is_checked_in_full_depth(tmp_path):
    fields = {**FAMILIES["gemma3_text"][2], "num_hidden_layers": 24}
    config = transformers.AutoConfig.for_model("gemma3_text", **fields)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    run = fit(tmp_path, Model(model), [{"input_ids": TOKENS}] * 2)
    assert run.work.verification == "verified", run.work.note
    assert run.end.totals.counts.flops == 2 * training_flops(architecture_of(config), Batch(2, 40))


@torch_2_9_for_groups
def test_a_model_that_does_more_than_its_config_says_is_counted_as_it_runs_with_both_numbers(tmp_path):
    class Busy(transformers.LlamaForCausalLM):
        def forward(self, *args, **named):
            out = super().forward(*args, **named)
            out.logits = out.logits + 0 * (self.lm_head.weight @ self.lm_head.weight.T).sum()
            return out

    run = fit(tmp_path, Model(Busy(config_of("llama"))), [{"input_ids": TOKENS}] * 2)
    assert run.work.verification == "watched"
    full = architecture_of(config_of("llama")).with_full_attention()
    ours, theirs = (
        training_flops(full, Batch(2, 40)),
        measure(Busy(config_of("llama")), input_ids=TOKENS).training_flops,
    )
    assert f"ran {theirs:,} FLOPs" in run.work.note
    assert f"gives {ours:,}" in run.work.note
    more = 3 * 2 * 320 * 320 * 64
    assert theirs - ours == more
    assert run.end.totals.counts.flops == 2 * (training_flops(architecture_of(config_of("llama")), Batch(2, 40)) + more)

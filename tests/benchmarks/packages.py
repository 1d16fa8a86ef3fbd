"""Trains small models of packages that are built on Lightning, with and without flopwatch, and compares.

Each configuration is trained three times with the same seed, every time in a process of its own: as it is, with
flopwatch, and under torch's `FlopCounterMode`. A Markdown table says which status flopwatch came to, whether its FLOPs
agree with torch's, and whether parameters and random state end up bit-identical. Where the two counts differ, the
operators that ran are counted a second time, by formulas of this script, for what torch is known to miss; a difference
that this does not explain to the FLOP is called wrong.

    OMP_NUM_THREADS=1 python packages.py                # all; the table goes to packages.md beside the script
    OMP_NUM_THREADS=1 python packages.py timm DQN       # those of a package, or one by its name, again
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode, flop_registry

SEED = 7
STEPS = 12
MODES = ("plain", "flopwatch", "torch")
OPTIONS = {"peak_flops_per_second": 1e12, "every_n_steps": 5, "report": False}
SECONDS_PER_RUN = 200
QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
aten = torch.ops.aten


# ---------------------------------------------------------------------------------------------------------------------
# One run
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What a configuration is given.

    Args:
        folder: A folder of its own.
        callbacks: What goes to the Trainer: one `FlopWatch`, or nothing.
    """

    folder: Path
    callbacks: list[Any] = field(default_factory=list)

    def options(self, **more: Any) -> dict[str, Any]:
        """Arguments for a Trainer, with the callbacks among them."""
        return {"max_steps": STEPS, **QUIET, "default_root_dir": str(self.folder), "callbacks": self.callbacks, **more}

    def fit(self, module: Any, data: Any, validation: Any = None, **more: Any) -> None:
        """Train a module on a DataLoader with `lightning.pytorch`."""
        import lightning.pytorch as pl

        pl.Trainer(**self.options(**more)).fit(module, data, validation)


@dataclass
class Configuration:
    """A package, what is trained of it, and how flopwatch gets in: by a callback or by the environment."""

    package: str
    train: Callable[[Run], None]
    by_environment: bool = False

    @property
    def modules(self) -> list[str]:
        """What to import before the runs are forked."""
        return MODULES.get(self.package, [self.package.replace("-", "_")])


MODULES = {
    "u8darts": ["darts.models"],
    "gluonts": ["gluonts.torch", "gluonts.dataset.pandas"],
    "scvi-tools": ["scvi"],
    "lightly": ["lightly.loss", "lightly.models"],
    "torchgeo": ["torchgeo.trainers"],
    "rl4co": ["rl4co.envs", "rl4co.models"],
    "torch_geometric": ["torch_geometric.nn"],
}
CONFIGURATIONS: dict[str, Configuration] = {}


def configuration(
    name: str, package: str, *, by_environment: bool = False
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Enter a function that trains into the table of configurations."""

    def keep(train: Callable[[Run], None]) -> Callable[[Run], None]:
        CONFIGURATIONS[name] = Configuration(package, train, by_environment)
        return train

    return keep


class Tally(TorchDispatchMode):
    """Notes which operators ran, and how far torch's count of them is from the multiply-adds that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.corrections: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and take note of it."""
        named = kwargs or {}
        out = operator(*args, **named)
        packet = operator._overloadpacket
        self.calls[str(packet)] += 1
        of_torch = flop_registry[packet](*args, **named, out_val=out) if packet in flop_registry else 0
        autograd = int(torch._C._current_graph_task_id()) != -1
        if autograd and torch.is_grad_enabled() and within("torch/utils/checkpoint.py"):
            self.corrections["recomputed by activation checkpointing"] -= of_torch
        elif not autograd and within("torch/optim/") and not within("training_step"):
            self.corrections["products of the optimizer"] -= of_torch
        else:
            right, why = self.right(packet, operator, args, named, out)
            if right is not None and right != of_torch:
                self.corrections[f"{packet.__name__}: {why}"] += right - of_torch
        return out

    def right(self, packet: Any, operator: Any, args: Any, named: Any, out: Any) -> tuple[int | None, str]:
        """FLOPs of operators that torch does not count, or counts otherwise; `None` for all others."""
        names = [each.name for each in operator._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **named}
        name = packet.__name__
        if "attention" in name and "query" in given:
            query, key, value = given["query"], given["key"], given["value"]
            queries, keys = query.shape[-2], key.shape[-2]
            pairs = sum(min(i + 1, keys) for i in range(queries)) if given.get("is_causal") else queries * keys
            heads = query.shape[:-2].numel()
            flops = 2 * heads * pairs * (query.shape[-1] + value.shape[-1])
            return flops * (2 if "backward" in name else 1), "torch counts 0 on a CPU, and all pairs where causal"
        if name in ("mkldnn_rnn_layer", "mkldnn_rnn_layer_backward"):
            weights = args[1].numel() + args[2].numel()
            flops = 2 * args[0].shape[0] * args[0].shape[1] * weights
            return flops * (2 if "backward" in name else 1), "torch counts 0"
        if name == "convolution_backward":
            gradient, x, weight, transposed = args[0], args[1], args[2], given["transposed"]
            places = (x if transposed else gradient).shape[2:].numel()
            wanted = int(given["output_mask"][0]) + int(given["output_mask"][1])
            return 2 * x.shape[0] * places * weight.numel() * wanted, "torch counts groups times"
        if name in ("mv", "dot", "vdot"):
            return 2 * args[0].numel(), "torch counts 0"
        if name == "addmv":
            return 2 * args[1].numel(), "torch counts 0"
        if name == "_euclidean_dist":
            return 2 * out.numel() * args[0].shape[-1], "torch counts 0"
        if name.startswith("_fft_"):
            # The textbook's 5 n log2 n of a complex transform; half as much where one side is real.
            sizes = (args[0] if out.is_complex() else out).shape
            points = math.prod(sizes[dim] for dim in given["dim"])
            halves = 2 if args[0].is_complex() and out.is_complex() else 1
            return round(2.5 * halves * sizes.numel() * math.log2(points)), "torch counts 0"
        if name in ("mm", "addmm", "_sparse_mm", "_sparse_addmm"):
            first, second = args[-2:] if len(args) < 3 else args[1:3]
            if first.layout is not torch.strided or second.layout is not torch.strided:
                stored = first if first.layout is not torch.strided else second
                other = second.shape[1] if stored is first else first.shape[0]
                return 2 * stored._nnz() * other, "of a sparse matrix torch counts zeros, too, or nothing"
        return None, ""


def within(what: str) -> bool:
    """Whether a function of this name, or of a file with this in its path, is running."""
    frame = sys._getframe(2)
    while frame is not None:
        if what == frame.f_code.co_name or ("/" in what and what in frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False


def counting_callback() -> Any:
    """A callback that puts torch's counter, and the tally below it, around every training batch."""
    import lightning.pytorch
    import pytorch_lightning

    class Counting(lightning.pytorch.Callback, pytorch_lightning.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.torch: list[int] = []
            self.right: list[int] = []
            self.tally = Tally()

        def on_train_batch_start(self, *_: Any) -> None:
            self.tally.__enter__()
            self.counter = FlopCounterMode(display=False)
            self.counter.__enter__()

        def on_train_batch_end(self, *_: Any) -> None:
            self.counter.__exit__(None, None, None)
            self.tally.__exit__(None, None, None)
            self.torch.append(self.counter.get_total_flops())
            self.right.append(sum(self.torch) + sum(self.tally.corrections.values()) - sum(self.right))

    return Counting()


def watch_fits(result: dict[str, Any], counting: Any) -> None:
    """Have `fit` of every Trainer add the counting callback, if there is one, and keep what it ends with."""
    import lightning.pytorch
    import pytorch_lightning

    def wrapped(fit: Callable[..., Any]) -> Callable[..., Any]:
        def fit_and_keep(trainer: Any, *args: Any, **named: Any) -> Any:
            if counting is not None:
                trainer.callbacks.append(counting)
            began = time.perf_counter()
            done = fit(trainer, *args, **named)
            result["seconds"] = result.get("seconds", 0.0) + time.perf_counter() - began
            state = trainer.lightning_module.state_dict()
            result["state"] = {
                name: each.detach().clone() for name, each in state.items() if isinstance(each, torch.Tensor)
            }
            result["random"] = (torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
            result["steps"] = trainer.global_step
            return done

        return fit_and_keep

    for package in (lightning.pytorch, pytorch_lightning):
        package.Trainer.fit = wrapped(package.Trainer.fit)


def note_watched_batches() -> dict[int, int | str]:
    """By their numbers, the batches that flopwatch watches from now on, and what it took each to cost."""
    from flopwatch.lightning.counting.counter import Seen
    from flopwatch.lightning.counting.watcher import Watcher

    watched: dict[int, int | str] = {}
    take = Watcher.take

    def take_and_note(self: Any, attention: Any) -> Any:
        try:
            seen = take(self, attention)
        except Exception as error:
            watched[self._batches - 1] = str(error)
            raise
        if isinstance(seen, Seen):
            watched[self._batches - 1] = seen.counted.training_flops
        return seen

    Watcher.take = take_and_note  # type: ignore[method-assign]
    return watched


def let_torchvision_load() -> Any:
    """Declare the operators without which a torchvision built for CUDA cannot be imported beside a torch for CPUs."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        return None
    return library


def child(name: str, mode: str, folder: Path) -> None:
    """Train one configuration in this process, and leave what became of it in the folder."""
    import lightning.pytorch

    os.chdir(folder)
    chosen = CONFIGURATIONS[name]
    os.environ.pop("FLOPWATCH", None)
    if mode == "flopwatch" and chosen.by_environment:
        os.environ["FLOPWATCH"] = "; ".join(f"{key}={value}" for key, value in OPTIONS.items())
    callbacks = []
    if mode == "flopwatch" and not chosen.by_environment:
        from flopwatch import FlopWatch

        callbacks = [FlopWatch(**OPTIONS, dirpath=folder / "flopwatch" / "run")]
    counting = counting_callback() if mode == "torch" else None
    result: dict[str, Any] = {"watched": note_watched_batches() if mode == "flopwatch" else {}}
    watch_fits(result, counting)
    lightning.pytorch.seed_everything(SEED)
    try:
        chosen.train(Run(folder, callbacks))
    except Exception:
        result["error"] = traceback.format_exc()
    if counting is not None:
        result |= {"flops": sum(counting.torch), "by_batch": counting.right}
        result |= {"calls": dict(counting.tally.calls), "corrections": dict(counting.tally.corrections)}
    torch.save(result, folder / "result.pt")


# ---------------------------------------------------------------------------------------------------------------------
# Examples in the way of Lightning's documentation
# ---------------------------------------------------------------------------------------------------------------------


def loader(*tensors: torch.Tensor, batch_size: int = 8) -> DataLoader[Any]:
    """A shuffled DataLoader of tensors."""
    return DataLoader(TensorDataset(*tensors), batch_size=batch_size, shuffle=True, drop_last=True)


def images(size: int = 32, *, count: int = 8 * STEPS, channels: int = 3, classes: int = 5) -> tuple[Any, Any]:
    """Random images and labels."""
    return torch.randn(count, channels, size, size), torch.randint(classes, (count,))


@configuration("GAN, manual optimization", "lightning")
def gan(run: Run) -> None:
    """Generator and discriminator take turns, as in Lightning's example."""
    import lightning.pytorch as pl

    class Gan(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.generator = nn.Sequential(
                nn.Linear(16, 64), nn.BatchNorm1d(64), nn.LeakyReLU(0.2), nn.Linear(64, 784), nn.Tanh()
            )
            self.discriminator = nn.Sequential(nn.Linear(784, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1), nn.Sigmoid())

        def training_step(self, batch: Any, batch_idx: int) -> None:
            real = batch[0]
            of_generator, of_discriminator = self.optimizers()
            noise = torch.randn(len(real), 16)
            self.toggle_optimizer(of_generator)
            fake = self.generator(noise)
            loss = functional.binary_cross_entropy(self.discriminator(fake), torch.ones(len(real), 1))
            self.log("g_loss", loss, prog_bar=True)
            self.manual_backward(loss)
            of_generator.step()
            of_generator.zero_grad()
            self.untoggle_optimizer(of_generator)
            if batch_idx % 2:
                return
            self.toggle_optimizer(of_discriminator)
            on_real = functional.binary_cross_entropy(self.discriminator(real), torch.ones(len(real), 1))
            on_fake = functional.binary_cross_entropy(
                self.discriminator(self.generator(noise).detach()), torch.zeros(len(real), 1)
            )
            self.manual_backward((on_real + on_fake) / 2)
            of_discriminator.step()
            of_discriminator.zero_grad()
            self.untoggle_optimizer(of_discriminator)

        def configure_optimizers(self) -> list[Any]:
            return [torch.optim.Adam(each.parameters(), 2e-4) for each in (self.generator, self.discriminator)]

    run.fit(Gan(), loader(torch.randn(160, 784)), max_steps=-1, max_epochs=1)


class Cliff:
    """An environment of four numbers and two actions."""

    def reset(self) -> Any:
        """Start again."""
        self.left = 20
        self.state = np.random.randn(4).astype(np.float32)
        return self.state

    def step(self, action: int) -> tuple[Any, float, bool]:
        """Act, and get a state, a reward and whether it is over."""
        self.left -= 1
        self.state = (0.9 * self.state + 0.1 * (action - 0.5) + 0.1 * np.random.randn(4)).astype(np.float32)
        return self.state, float(-abs(self.state).sum()), self.left == 0 or bool(abs(self.state).max() > 3)


@configuration("DQN", "lightning")
def dqn(run: Run) -> None:
    """Replay memory, an agent that acts within the training step, and a target network."""
    import lightning.pytorch as pl

    memory: list[Any] = []

    class Replay(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            for index in np.random.choice(len(memory), 160, replace=False):
                yield memory[index]

    class Agent(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.target = (nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2)) for _ in range(2))
            self.target.load_state_dict(self.net.state_dict())
            self.environment = Cliff()
            self.state = self.environment.reset()
            for _ in range(300):
                self.play(1.0)

        @torch.no_grad()
        def play(self, epsilon: float) -> None:
            """One step in the environment, at random or as the network says."""
            if np.random.random() < epsilon:
                action = int(np.random.randint(2))
            else:
                action = int(self.net(torch.from_numpy(self.state)[None]).argmax(1).item())
            following, reward, over = self.environment.step(action)
            memory.append((self.state, action, reward, over, following))
            self.state = self.environment.reset() if over else following

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.play(max(0.01, 1 - batch_idx / 5))
            states, actions, rewards, over, following = batch
            values = self.net(states).gather(1, actions.long()[:, None])[:, 0]
            with torch.no_grad():
                later = self.target(following).max(1)[0]
                later[over] = 0.0
            loss = functional.mse_loss(values, rewards.float() + 0.99 * later)
            if self.global_step % 5 == 0:
                self.target.load_state_dict(self.net.state_dict())
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.net.parameters(), 1e-3)

    run.fit(Agent(), DataLoader(Replay(), batch_size=8))


@configuration("PPO, manual optimization", "lightning")
def ppo(run: Run) -> None:
    """Rolls out, then makes several updates with clipped gradients, all within one training step."""
    import lightning.pytorch as pl
    from torch.distributions import Categorical

    class Ppo(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
            self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
            self.environment = Cliff()
            self.state = self.environment.reset()

        @torch.no_grad()
        def roll_out(self, steps: int) -> list[torch.Tensor]:
            """States, actions, their log-probabilities and returns."""
            rows = []
            for _ in range(steps):
                state = torch.from_numpy(self.state)
                policy = Categorical(logits=self.actor(state))
                action = policy.sample()
                following, reward, over = self.environment.step(int(action.item()))
                rows.append((state, action, policy.log_prob(action), torch.tensor(reward)))
                self.state = self.environment.reset() if over else following
            return [torch.stack(each) for each in zip(*rows, strict=True)]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            states, actions, before, returns = self.roll_out(int(np.random.randint(8, 16)))
            optimizer = self.optimizers()
            for _ in range(3):
                policy = Categorical(logits=self.actor(states))
                values = self.critic(states)[:, 0]
                ratio = (policy.log_prob(actions) - before).exp()
                advantage = (returns - values).detach()
                clipped = ratio.clamp(0.8, 1.2) * advantage
                loss = -torch.min(ratio * advantage, clipped).mean() + functional.mse_loss(values, returns)
                optimizer.zero_grad()
                self.manual_backward(loss)
                self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
                optimizer.step()
                if (before - policy.log_prob(actions)).mean().item() > 0.02:
                    break
            self.log("loss", loss)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    run.fit(Ppo(), DataLoader(torch.zeros(STEPS, 1)), max_steps=-1, max_epochs=1)


@configuration("LSTM sequence to sequence, packed, teacher forcing", "lightning")
def seq2seq(run: Run) -> None:
    """Packed sentences of any length, and a decoder that is told the truth now and then."""
    import lightning.pytorch as pl
    from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

    class Translator(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(50, 24)
            self.encoder = nn.LSTM(24, 32, num_layers=2, dropout=0.1, batch_first=True, bidirectional=True)
            self.bridge = nn.Linear(64, 32)
            self.decoder = nn.GRUCell(24, 32)
            self.head = nn.Linear(32, 50)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            source, lengths, target = batch
            packed = pack_padded_sequence(self.words(source), lengths, batch_first=True, enforce_sorted=False)
            _, (hidden, _) = self.encoder(packed)
            state = self.bridge(torch.cat([hidden[-2], hidden[-1]], 1))
            word, losses = target[:, 0], []
            for place in range(1, target.shape[1]):
                state = self.decoder(self.words(word), state)
                scores = self.head(state)
                losses.append(functional.cross_entropy(scores, target[:, place], ignore_index=0))
                word = target[:, place] if random.random() < 0.5 else scores.argmax(1)
            loss = torch.stack(losses).mean()
            self.log("perplexity", loss.exp())
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), 1e-3)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 5)]

    sentences = [torch.randint(1, 50, (random.randint(3, 12),)) for _ in range(8 * STEPS)]

    def together(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        padded = pad_sequence(rows, batch_first=True)
        return padded, torch.tensor([len(each) for each in rows]), padded.flip(1)

    data = DataLoader(sentences, batch_size=8, shuffle=True, collate_fn=together)  # type: ignore[arg-type]
    run.fit(Translator(), data, gradient_clip_val=1.0)


@configuration("VAE with torch.distributions", "lightning")
def vae(run: Run) -> None:
    """Convolutions, a reparametrized Normal and its divergence from the standard one."""
    import lightning.pytorch as pl
    from torch.distributions import Independent, Normal, kl_divergence

    class Vae(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.Flatten(), nn.Linear(784, 16)
            )
            self.decoder = nn.Sequential(
                nn.Linear(8, 784),
                nn.Unflatten(1, (16, 7, 7)),
                nn.ConvTranspose2d(16, 8, 4, 2, 1),
                nn.ReLU(),
                nn.ConvTranspose2d(8, 1, 4, 2, 1),
            )

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            mean, log_scale = self.encoder(batch[0]).chunk(2, 1)
            posterior = Independent(Normal(mean, log_scale.exp()), 1)
            logits = self.decoder(posterior.rsample())
            prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
            divergence = kl_divergence(posterior, prior).mean()
            error = functional.binary_cross_entropy_with_logits(logits, batch[0].sigmoid(), reduction="none")
            self.log_dict({"divergence": divergence}, on_epoch=True)
            return error.sum((1, 2, 3)).mean() + divergence

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-3)

    run.fit(Vae(), loader(torch.randn(96, 1, 28, 28)))


@configuration("classifier with metrics, loss.item(), EMA, accumulation, validation", "torchmetrics")
def classifier(run: Run) -> None:
    """A transformer encoder that looks at its loss, with metrics, averaged weights and gradients of two batches."""
    import lightning.pytorch as pl
    import torchmetrics

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            self.body = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(32, 5)
            self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=5)
            self.area = torchmetrics.AUROC(task="multiclass", num_classes=5)
            self.matrix = torchmetrics.ConfusionMatrix(task="multiclass", num_classes=5)
            self.spikes = 0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            scores = self.head(self.body(x).mean(1))
            loss = functional.cross_entropy(scores, y)
            if loss.item() > 1.5:
                self.spikes += 1
                loss = loss + 0.1 * scores.pow(2).mean()
            self.log("accuracy", self.accuracy(scores, y), on_step=True)
            self.area.update(scores, y)
            self.matrix.update(scores, y)
            return loss

        def on_train_epoch_end(self) -> None:
            self.log("area", self.area.compute())
            self.area.reset()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            self.log("val_loss", functional.cross_entropy(self.head(self.body(x).mean(1)), y))

        def val_dataloader(self) -> Any:
            return loader(torch.randn(16, 10, 32), torch.randint(5, (16,)))

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    averaging = pl.callbacks.StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1)
    data = loader(torch.randn(48, 10, 32), torch.randint(5, (48,)))
    callbacks = [*run.callbacks, averaging]
    run.fit(Classifier(), data, max_steps=-1, max_epochs=3, accumulate_grad_batches=2, callbacks=callbacks)


# ---------------------------------------------------------------------------------------------------------------------
# Forecasting
# ---------------------------------------------------------------------------------------------------------------------


def series_frame() -> Any:
    """Four series of eighty points, long format."""
    import pandas as pd

    rows = [
        {"time": t, "series": str(i), "value": float(np.sin(t / 5 + i) + 2 + 0.1 * np.random.randn()), "month": t % 12}
        for i in range(4)
        for t in range(80)
    ]
    return pd.DataFrame(rows)


def forecasting_data(**more: Any) -> Any:
    """The data set of pytorch-forecasting."""
    from pytorch_forecasting import TimeSeriesDataSet

    options = {"max_encoder_length": 16, "max_prediction_length": 4, "time_varying_unknown_reals": ["value"], **more}
    return TimeSeriesDataSet(series_frame(), time_idx="time", target="value", group_ids=["series"], **options)


@configuration("TemporalFusionTransformer", "pytorch-forecasting")
def forecasting_tft(run: Run) -> None:
    """Lengths vary, categories and known reals."""
    from pytorch_forecasting import QuantileLoss, TemporalFusionTransformer

    data = forecasting_data(min_encoder_length=6, time_varying_known_reals=["month"], static_categoricals=["series"])
    model = TemporalFusionTransformer.from_dataset(
        data, hidden_size=8, attention_head_size=2, dropout=0.1, hidden_continuous_size=4, loss=QuantileLoss()
    )
    run.fit(model, data.to_dataloader(train=True, batch_size=16), gradient_clip_val=0.1)


@configuration("DeepAR", "pytorch-forecasting")
def forecasting_deepar(run: Run) -> None:
    """An LSTM and a Normal."""
    from pytorch_forecasting import DeepAR

    data = forecasting_data(static_categoricals=["series"])
    model = DeepAR.from_dataset(data, hidden_size=16, rnn_layers=2, dropout=0.1)
    run.fit(model, data.to_dataloader(train=True, batch_size=16))


@configuration("NBeats", "pytorch-forecasting")
def forecasting_nbeats(run: Run) -> None:
    """Trend, seasonality and generic blocks."""
    from pytorch_forecasting import NBeats

    data = forecasting_data()
    model = NBeats.from_dataset(data, widths=[16, 32], backcast_loss_ratio=0.1)
    run.fit(model, data.to_dataloader(train=True, batch_size=16))


def darts_fit(run: Run, kind: str, **options: Any) -> None:
    """Train a model of darts by its own `fit`."""
    import darts.models as models
    from darts import TimeSeries

    values = np.sin(np.arange(120) / 6)[:, None].astype(np.float32)
    model = getattr(models, kind)(
        batch_size=8,
        n_epochs=1,
        random_state=SEED,
        pl_trainer_kwargs=run.options(max_steps=-1, max_epochs=1),
        **options,
    )
    model.fit(TimeSeries.from_values(values), verbose=False)


@configuration("TFTModel", "u8darts")
def darts_tft(run: Run) -> None:
    """Temporal fusion transformer with relative index."""
    sizes = {"input_chunk_length": 16, "output_chunk_length": 4, "hidden_size": 8}
    darts_fit(run, "TFTModel", lstm_layers=1, num_attention_heads=2, add_relative_index=True, **sizes)


@configuration("TCNModel", "u8darts")
def darts_tcn(run: Run) -> None:
    """Dilated convolutions with weight norm."""
    darts_fit(run, "TCNModel", input_chunk_length=16, output_chunk_length=4, weight_norm=True, dropout=0.1)


@configuration("BlockRNNModel, LSTM", "u8darts")
def darts_rnn(run: Run) -> None:
    """An LSTM over blocks."""
    sizes = {"input_chunk_length": 16, "output_chunk_length": 4, "hidden_dim": 16}
    darts_fit(run, "BlockRNNModel", model="LSTM", n_rnn_layers=2, dropout=0.1, **sizes)


def neuralforecast_fit(kind: str, run: Run, **options: Any) -> None:
    """Train a model of neuralforecast, which makes its own Trainer."""
    from neuralforecast import NeuralForecast, models

    frame = series_frame().rename(columns={"series": "unique_id", "time": "ds", "value": "y"})[["unique_id", "ds", "y"]]
    trainer = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    model = getattr(models, kind)(
        h=4, input_size=16, max_steps=STEPS, random_seed=SEED, default_root_dir=str(run.folder), **trainer, **options
    )
    NeuralForecast(models=[model], freq=1).fit(frame)


@configuration("NHITS", "neuralforecast", by_environment=True)
def neuralforecast_nhits(run: Run) -> None:
    """Hierarchical interpolation."""
    neuralforecast_fit("NHITS", run, mlp_units=3 * [[32, 32]])


@configuration("PatchTST", "neuralforecast", by_environment=True)
def neuralforecast_patchtst(run: Run) -> None:
    """A transformer over patches."""
    neuralforecast_fit("PatchTST", run, hidden_size=16, n_heads=4, patch_len=4, stride=2, encoder_layers=2)


@configuration("Autoformer (FFT)", "neuralforecast", by_environment=True)
def neuralforecast_autoformer(run: Run) -> None:
    """Correlation by Fourier transforms."""
    neuralforecast_fit("Autoformer", run, hidden_size=16, n_head=2, conv_hidden_size=16)


def gluonts_fit(run: Run, estimator: Any, **options: Any) -> None:
    """Train an estimator of GluonTS."""
    from gluonts.dataset.pandas import PandasDataset

    frame = series_frame()
    import pandas as pd

    frame["value"] = frame["value"].astype(np.float32)
    frame["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame["time"], unit="D")
    data = PandasDataset.from_long_dataframe(frame, target="value", item_id="series", timestamp="when", freq="D")
    trainer = run.options(max_steps=-1, max_epochs=1, enable_checkpointing=True)
    estimator(prediction_length=4, batch_size=8, num_batches_per_epoch=STEPS, trainer_kwargs=trainer, **options).train(
        data
    )


@configuration("DeepAREstimator", "gluonts")
def gluonts_deepar(run: Run) -> None:
    """An LSTM and Student's t."""
    from gluonts.torch import DeepAREstimator

    gluonts_fit(run, DeepAREstimator, freq="D", num_layers=2, hidden_size=16, context_length=8)


@configuration("TemporalFusionTransformerEstimator", "gluonts")
def gluonts_tft(run: Run) -> None:
    """Temporal fusion transformer."""
    from gluonts.torch import TemporalFusionTransformerEstimator

    gluonts_fit(run, TemporalFusionTransformerEstimator, freq="D", hidden_dim=8, variable_dim=8, num_heads=2)


@configuration("PatchTSTEstimator", "gluonts")
def gluonts_patchtst(run: Run) -> None:
    """A transformer over patches."""
    from gluonts.torch import PatchTSTEstimator

    gluonts_fit(run, PatchTSTEstimator, patch_len=4, d_model=16, nhead=2, context_length=16)


# ---------------------------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------------------------


def image_classifier(network: nn.Module) -> Any:
    """A LightningModule around a network that gives scores."""
    import lightning.pytorch as pl

    class ImageClassifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-2, momentum=0.9)

    return ImageClassifier()


@configuration("ViT, drop path, frozen half, activation checkpointing", "timm")
def timm_vit(run: Run) -> None:
    """A small vision transformer whose first block is frozen."""
    import timm

    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, embed_dim=48, num_heads=3, num_classes=5,
        drop_path_rate=0.2,
    )  # fmt: skip
    network.set_grad_checkpointing(True)
    network.blocks[0].requires_grad_(False)
    run.fit(image_classifier(network), loader(*images()))


@configuration("EfficientNet-B0 (depthwise), bf16-mixed", "timm")
def timm_efficientnet(run: Run) -> None:
    """Depthwise convolutions under autocast."""
    import timm

    network = timm.create_model("efficientnet_b0", num_classes=5, drop_path_rate=0.2)
    run.fit(image_classifier(network), loader(*images()), precision="bf16-mixed")


@configuration("Swin, Muon", "timm")
def timm_swin(run: Run) -> None:
    """Shifted windows, and an optimizer that multiplies matrices."""
    import timm
    from timm.optim import create_optimizer_v2

    network = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(2, 4),
        num_classes=5,
    )  # fmt: skip
    module = image_classifier(network)
    module.configure_optimizers = lambda: create_optimizer_v2(network, opt="muon", lr=1e-3)
    run.fit(module, loader(*images()))


@configuration("SimCLR", "lightly")
def lightly_simclr(run: Run) -> None:
    """Two views and a contrastive loss, as in lightly's examples."""
    import lightning.pytorch as pl
    import torchvision
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    class SimClr(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])
            self.projection = SimCLRProjectionHead(512, 64, 32)
            self.criterion = NTXentLoss()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            first, second = (self.projection(self.backbone(each).flatten(1)) for each in batch)
            return self.criterion(first, second)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.06)

    run.fit(SimClr(), loader(images()[0], images()[0]))


@configuration("DINO", "lightly")
def lightly_dino(run: Run) -> None:
    """Student and teacher, views of two sizes, momentum, a frozen last layer."""
    import copy

    import lightning.pytorch as pl
    import torchvision
    from lightly.loss import DINOLoss
    from lightly.models.modules import DINOProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum

    class Dino(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            backbone = nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])
            self.student, self.teacher = backbone, copy.deepcopy(backbone)
            self.student_head = DINOProjectionHead(512, 64, 32, 128, freeze_last_layer=1)
            self.teacher_head = DINOProjectionHead(512, 64, 32, 128)
            deactivate_requires_grad(self.teacher)
            deactivate_requires_grad(self.teacher_head)
            self.criterion = DINOLoss(output_dim=128, warmup_teacher_temp_epochs=5)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            update_momentum(self.student, self.teacher, m=0.99)
            update_momentum(self.student_head, self.teacher_head, m=0.99)
            large, small = batch
            taught = [self.teacher_head(self.teacher(large).flatten(1))]
            learned = [self.student_head(self.student(each).flatten(1)) for each in (large, small)]
            return self.criterion(taught, learned, epoch=self.current_epoch)

        def on_after_backward(self) -> None:
            self.student_head.cancel_last_layer_gradients(current_epoch=self.current_epoch)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-3)

    run.fit(Dino(), loader(images()[0], images(24)[0]))


@configuration("UNet 3D, Dice loss", "monai")
def monai_unet(run: Run) -> None:
    """Volumes."""
    import lightning.pytorch as pl
    from monai.losses import DiceCELoss
    from monai.metrics import DiceMetric
    from monai.networks.nets import UNet

    class Segmenter(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = UNet(
                spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), num_res_units=2
            )
            self.criterion, self.dice = DiceCELoss(to_onehot_y=True, softmax=True), DiceMetric()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            scores = self.network(batch[0])
            self.dice(scores.argmax(1, keepdim=True), batch[1])
            return self.criterion(scores, batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-3)

    data = loader(torch.randn(24, 1, 16, 16, 16), torch.randint(2, (24, 1, 16, 16, 16)), batch_size=2)
    run.fit(Segmenter(), data)


@configuration("Swin UNETR", "monai")
def monai_swin(run: Run) -> None:
    """A transformer with windows over volumes."""
    import lightning.pytorch as pl
    from monai.networks.nets import SwinUNETR

    class Segmenter(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = SwinUNETR(
                in_channels=1, out_channels=2, feature_size=12, spatial_dims=2, use_checkpoint=True
            )

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-3)

    run.fit(Segmenter(), loader(torch.randn(24, 1, 64, 64), torch.randint(2, (24, 64, 64)), batch_size=2))


@configuration("Unet, MobileNetV2 encoder", "segmentation-models-pytorch")
def smp_unet(run: Run) -> None:
    """A U-Net with depthwise convolutions, and metrics of the package."""
    import lightning.pytorch as pl
    import segmentation_models_pytorch as smp

    class Segmenter(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = smp.Unet("mobilenet_v2", encoder_weights=None, in_channels=3, classes=1)
            self.criterion = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            picture, mask = batch
            assert mask.max() <= 1.0
            logits = self.network(picture)
            smp.metrics.get_stats((logits.sigmoid() > 0.5).long(), mask.long(), mode="binary")
            return self.criterion(logits, mask)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-3)

    run.fit(Segmenter(), loader(torch.randn(48, 3, 32, 32), torch.randint(2, (48, 1, 32, 32)).float(), batch_size=4))


@configuration("SemanticSegmentationTask", "torchgeo")
def torchgeo_segmentation(run: Run) -> None:
    """The package's own LightningModule, with batches that are mappings."""
    from torchgeo.trainers import SemanticSegmentationTask

    class Tiles(Dataset[Any]):
        def __len__(self) -> int:
            return 4 * STEPS

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {"image": torch.randn(4, 32, 32), "mask": torch.randint(3, (32, 32))}

    task = SemanticSegmentationTask(
        model="unet", backbone="resnet18", in_channels=4, task="multiclass", num_classes=3, loss="ce"
    )
    run.fit(task, DataLoader(Tiles(), batch_size=4), DataLoader(Tiles(), batch_size=16))


# ---------------------------------------------------------------------------------------------------------------------
# Graphs, cells, molecules, tables, routes
# ---------------------------------------------------------------------------------------------------------------------


def graph_classifier(run: Run, make: Callable[[], nn.Module]) -> None:
    """Train a network for graphs of PyG on random graphs."""
    import lightning.pytorch as pl
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader as GraphLoader
    from torch_geometric.nn import global_mean_pool

    class GraphClassifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.head = make(), nn.Linear(32, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            nodes = self.network(batch.x, batch.edge_index)
            return functional.cross_entropy(self.head(global_mean_pool(nodes, batch.batch)), batch.y)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    graphs = []
    for _ in range(8 * STEPS):
        nodes = random.randint(5, 20)
        edges = torch.randint(nodes, (2, 3 * nodes))
        graphs.append(Data(x=torch.randn(nodes, 16), edge_index=edges, y=torch.randint(3, (1,))))
    run.fit(GraphClassifier(), GraphLoader(graphs, batch_size=8, shuffle=True))


@configuration("GATv2", "torch_geometric")
def pyg_gat(run: Run) -> None:
    """Graph attention; every batch has other numbers of nodes and edges."""
    from torch_geometric.nn import GAT

    graph_classifier(run, lambda: GAT(16, 32, num_layers=2, heads=4, v2=True, dropout=0.1))


@configuration("GIN, batch norm", "torch_geometric")
def pyg_gin(run: Run) -> None:
    """Graph isomorphism network."""
    from torch_geometric.nn import GIN

    graph_classifier(run, lambda: GIN(16, 32, num_layers=2, norm="batch_norm"))


@configuration("GCN, sparse adjacency", "torch_geometric")
def pyg_sparse(run: Run) -> None:
    """One graph, whose adjacency is a sparse CSR tensor."""
    import lightning.pytorch as pl
    from torch_geometric.nn import GCNConv
    from torch_geometric.utils import to_torch_csr_tensor, to_undirected

    adjacency = to_torch_csr_tensor(to_undirected(torch.randint(60, (2, 200))), size=(60, 60))

    class NodeClassifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = GCNConv(16, 32), GCNConv(32, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch[0][0], batch[1][0]
            return functional.cross_entropy(self.second(self.first(x, adjacency).relu(), adjacency), y)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    data = loader(torch.randn(STEPS, 60, 16), torch.randint(3, (STEPS, 60)), batch_size=1)
    run.fit(NodeClassifier(), data)


def cells() -> Any:
    """Counts of thirty genes in cells of two batches."""
    import anndata
    import pandas as pd
    import scvi

    scvi.settings.seed = SEED
    observed = pd.DataFrame(
        {"batch": np.random.choice(["a", "b"], 400), "kind": np.random.choice(["x", "y", "Unknown"], 400)},
        index=[str(i) for i in range(400)],
    )
    return anndata.AnnData(np.random.poisson(2.0, (400, 30)).astype(np.float32), obs=observed)


def scvi_options(run: Run, **more: Any) -> dict[str, Any]:
    """Arguments of the `train` of scvi-tools."""
    trainer = run.options(max_steps=-1, **more)
    del trainer["devices"], trainer["enable_model_summary"]
    return {"max_epochs": 2, "batch_size": 64, "train_size": 0.9, **trainer}


@configuration("SCVI", "scvi-tools")
def scvi_plain(run: Run) -> None:
    """A VAE of counts."""
    import scvi

    data = cells()
    scvi.model.SCVI.setup_anndata(data, batch_key="batch")
    scvi.model.SCVI(data, n_hidden=32, n_latent=5).train(**scvi_options(run))


@configuration("SCANVI, from the environment", "scvi-tools", by_environment=True)
def scvi_labels(run: Run) -> None:
    """A semi-supervised VAE."""
    import scvi

    data = cells()
    scvi.model.SCANVI.setup_anndata(data, labels_key="kind", unlabeled_category="Unknown", batch_key="batch")
    scvi.model.SCANVI(data, n_hidden=32, n_latent=5).train(**scvi_options(run))


@configuration("TOTALVI (adversarial, manual optimization)", "scvi-tools")
def scvi_total(run: Run) -> None:
    """Genes and proteins, with an adversarial classifier."""
    import scvi

    data = cells()
    data.obsm["protein"] = np.random.poisson(5.0, (400, 6)).astype(np.float32)
    scvi.model.TOTALVI.setup_anndata(data, batch_key="batch", protein_expression_obsm_key="protein")
    model = scvi.model.TOTALVI(data, latent_distribution="normal", n_latent=5)
    model.train(adversarial_classifier=True, reduce_lr_on_plateau=False, **scvi_options(run))


@configuration("MPNN", "chemprop")
def chemprop_mpnn(run: Run) -> None:
    """Messages over the bonds of small molecules."""
    from chemprop import data, featurizers, models
    from chemprop import nn as parts

    smiles = ["CCO", "c1ccccc1", "CC(=O)O", "CCN(CC)CC", "C1CCCCC1O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "O=C=O", "CCCCCC"]
    points = [data.MoleculeDatapoint.from_smi(each, [float(len(each))]) for each in smiles * STEPS]
    molecules = data.MoleculeDataset(points, featurizers.SimpleMoleculeMolGraphFeaturizer())
    model = models.MPNN(parts.BondMessagePassing(d_h=32, depth=3), parts.MeanAggregation(), parts.RegressionFFN(32, 32))
    run.fit(model, data.build_dataloader(molecules, batch_size=8, num_workers=0, seed=SEED))


@configuration("FTTransformer, from the environment", "pytorch-tabular", by_environment=True)
def tabular(run: Run) -> None:
    """A transformer over the columns of a table, by the package's own Trainer."""
    import pandas as pd
    from pytorch_tabular import TabularModel
    from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
    from pytorch_tabular.models import FTTransformerConfig

    frame = pd.DataFrame(
        {"a": np.random.randn(200), "b": np.random.randn(200), "c": np.random.choice(list("xyz"), 200)}
    )
    frame["y"] = (frame["a"] > 0).astype(int)
    trainer = TrainerConfig(
        auto_lr_find=False, batch_size=16, max_epochs=1, accelerator="cpu", devices=1, progress_bar="none",
        checkpoints=None, early_stopping=None, load_best=False, seed=SEED,
        trainer_kwargs={"default_root_dir": str(run.folder)},
    )  # fmt: skip
    model = TabularModel(
        data_config=DataConfig(target=["y"], continuous_cols=["a", "b"], categorical_cols=["c"]),
        model_config=FTTransformerConfig(task="classification", input_embed_dim=16, num_heads=2, num_attn_blocks=2),
        optimizer_config=OptimizerConfig(),
        trainer_config=trainer,
        suppress_lightning_logger=True,
    )
    model.fit(train=frame)


@configuration("attention model for the TSP, REINFORCE", "rl4co")
def routes(run: Run) -> None:
    """A policy that builds tours, against the rollout of an older one."""
    from rl4co.envs import TSPEnv
    from rl4co.models import AttentionModel, AttentionModelPolicy

    environment = TSPEnv(generator_params={"num_loc": 8})
    policy = AttentionModelPolicy(
        env_name="tsp", embed_dim=32, num_encoder_layers=2, num_heads=4, feedforward_hidden=64
    )
    model = AttentionModel(
        environment, policy=policy, baseline="rollout", batch_size=8, train_data_size=8 * STEPS, val_data_size=8,
        test_data_size=8, dataloader_num_workers=0,
    )  # fmt: skip
    import lightning.pytorch as pl

    pl.Trainer(**run.options(max_steps=-1, max_epochs=1, gradient_clip_val=1.0)).fit(model)


# ---------------------------------------------------------------------------------------------------------------------
# All runs
# ---------------------------------------------------------------------------------------------------------------------


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The records of the run file below a folder; of several fits, those of all."""
    files = sorted(folder.glob("flopwatch/**/*.jsonl"), key=lambda each: each.stat().st_mtime)
    return [json.loads(line) for each in files for line in each.read_text().splitlines()]


def run_all_modes(name: str, folder: Path) -> dict[str, Any]:
    """Train a configuration in each mode, and say what became of it."""
    ends: dict[str, dict[str, Any]] = {}
    texts: dict[str, str] = {}
    for module in CONFIGURATIONS[name].modules:
        importlib.import_module(module)
    for mode in MODES:
        place = folder / mode
        place.mkdir(parents=True)
        in_time = in_a_process_of_its_own(lambda mode=mode, place=place: child(name, mode, place), place / "said.txt")
        texts[mode] = (place / "said.txt").read_text(errors="replace")
        path = place / "result.pt"
        why = texts[mode][-2000:] if in_time else f"took more than {SECONDS_PER_RUN} s"
        ends[mode] = torch.load(path, weights_only=False) if path.exists() else {"error": why}
        if "error" in ends[mode] and mode == "plain":
            break
    return verdict(name, ends, texts, records_of(folder / "flopwatch"))


def in_a_process_of_its_own(work: Callable[[], Any], log: Path, seconds: float = SECONDS_PER_RUN) -> bool:
    """Do something in a fork of this process, whose output goes to a file; return whether it ended in time."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        try:
            work()
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    until = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False
        time.sleep(0.05)
    return True


def verdict(name: str, ends: dict[str, Any], texts: dict[str, str], records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the runs of a configuration show."""
    works = [each for each in records if each["kind"] == "work"]
    closing = [each for each in records if each["kind"] == "end"]
    plain, watched, counted = (ends.get(mode, {}) for mode in MODES)
    row: dict[str, Any] = {
        "name": name,
        "package": package_of(name),
        "errors": {mode: end["error"] for mode, end in ends.items() if "error" in end},
        "status": works[-1]["verification"] if works else None,
        "note": works[-1].get("note", "") if works else "",
        "flops": closing[-1]["totals"].get("flops", 0) if closing else None,
        "batches": closing[-1]["totals"].get("batches") if closing else None,
        "torch": counted.get("flops"),
        "corrections": {key: value for key, value in counted.get("corrections", {}).items() if value},
        "calls": counted.get("calls", {}),
        "identical": same(plain, watched),
        "not_identical": what_differs(plain, watched) if same(plain, watched) is False else [],
        "repeatable": same(plain, counted),
        "seconds": [round(end.get("seconds", 0.0), 2) for end in ends.values()],
        "said": [line for line in texts.get("flopwatch", "").splitlines() if "flopwatch" in line],
    }
    by_batch = counted.get("by_batch", [])
    seen = watched.get("watched", {})
    row["watched"], row["all"] = len(seen), len(by_batch)
    row["differing"] = {
        index: (flops, by_batch[index])
        for index, flops in seen.items()
        if isinstance(flops, int) and index < len(by_batch) and flops != by_batch[index]
    }
    row["off"] = None if row["flops"] is None or "flops" not in counted else row["flops"] - sum(by_batch)
    row["estimated"] = row["status"] == "sampled" and len(seen) < len(by_batch)
    row["wrong"] = bool(row["differing"]) or bool(row["off"] and not row["estimated"])
    return row


def package_of(name: str) -> str:
    """Name and version of a configuration's package."""
    package = CONFIGURATIONS[name].package
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def same(one: dict[str, Any], other: dict[str, Any]) -> bool | None:
    """Whether two runs ended with the same bits, in every tensor and in the random state."""
    if "state" not in one or "state" not in other:
        return None
    return not what_differs(one, other)


def what_differs(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of the tensors and random states in which two runs ended with other bits."""
    first, second = one["state"], other["state"]
    names = sorted(first.keys() ^ second.keys())
    names += [key for key in first.keys() & second.keys() if not _same_bits(first[key], second[key])]
    randoms = zip(("torch", "numpy", "random"), one["random"], other["random"], strict=True)
    return names + [f"random state of {who}" for who, mine, its in randoms if not _equal(mine, its)]


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)))


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown table and the summary."""
    lines = [
        "| package | configuration | status | FLOPs of flopwatch | torch's FlopCounterMode | difference"
        " | bit-identical | seconds without, with |",
        "|---|---|---|---:|---:|---|---|---|",
    ]
    for row in rows:
        seconds = ", ".join(map(str, row["seconds"][:2]))
        cells_of_row = (
            row["package"], row["name"], status_of(row), number(row["flops"]), number(row["torch"]), difference(row),
            identity(row), seconds,
        )  # fmt: skip
        lines.append("| " + " | ".join(str(each).replace("|", "/").replace("\n", " ") for each in cells_of_row) + " |")
    ran = [row for row in rows if "plain" not in row["errors"]]
    lasted = [row for row in ran if row["flops"] is not None and row["status"] not in (None, "withheld", "disagree")]
    withheld = [row["name"] for row in ran if row not in lasted]
    wrong = [row["name"] for row in ran if row["wrong"]]
    identical = [row for row in ran if row["identical"]]
    lines += [
        "",
        f"{len(ran)} configurations ran; a number that lasted to the end: {len(lasted)}; without:"
        f" {len(withheld)}{' (' + ', '.join(withheld) + ')' if withheld else ''}; wrong:"
        f" {len(wrong)}{' (' + ', '.join(wrong) + ')' if wrong else ''}; bit-identical: {len(identical)}.",
    ]
    return "\n".join(lines)


def number(value: int | None) -> str:
    """A count with separators, or a dash."""
    return "-" if value is None else f"{value:,}"


def status_of(row: dict[str, Any]) -> str:
    """How flopwatch counted, and why not if it did not."""
    if row["errors"]:
        mode, error = next(iter(row["errors"].items()))
        return f"failed ({mode}): {(error.strip().splitlines() or ['no result'])[-1][:200]}"
    if row["status"] == "withheld":
        return f"withheld: {row['note'][:400]}"
    return str(row["status"])


def difference(row: dict[str, Any]) -> str:
    """Why the two counts differ, or that nobody knows."""
    if row["flops"] is None or row["torch"] is None:
        return "-"
    parts = [f"{key} ({value:+,})" for key, value in row["corrections"].items()]
    if row["estimated"]:
        share = row["off"] / max(row["torch"] + sum(row["corrections"].values()), 1)
        parts.append(f"{row['watched']} of {row['all']} batches watched, the mean stands for the others ({share:+.2%})")
    elif row["off"]:
        parts.append(f"**not explained: {row['off']:+,}**")
    if row["differing"]:
        parts.append(f"**watched batches that differ, with what they should cost: {row['differing']}**")
    return "; ".join(parts) or "none"


def identity(row: dict[str, Any]) -> str:
    """Whether the bits are the same, and if not whether they are without flopwatch."""
    if row["identical"] is None:
        return "-"
    if row["identical"]:
        return "yes"
    return "no" if row["repeatable"] else "no, and not without flopwatch either"


def in_two_steps(name: str, folder: Path) -> dict[str, Any]:
    """Import a configuration's package in one process, from which those that train are forked."""
    path = folder / "row.json"

    def work() -> None:
        path.write_text(json.dumps(run_all_modes(name, folder), default=str), encoding="utf-8")

    in_a_process_of_its_own(work, folder / "said.txt", 4 * SECONDS_PER_RUN)
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    said = (folder / "said.txt").read_text(errors="replace")
    return verdict(name, {"plain": {"error": said}}, {}, [])


def main() -> None:
    """Run what was asked for, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="configurations or packages; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="how many configurations run at a time")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("packages.md"))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    kept = let_torchvision_load()  # noqa: F841
    for package in ("lightning.pytorch", "pytorch_lightning"):
        importlib.import_module(package)
    wanted = arguments.names
    chosen = [name for name, each in CONFIGURATIONS.items() if not wanted or name in wanted or each.package in wanted]
    with tempfile.TemporaryDirectory() as top, ThreadPoolExecutor(arguments.jobs) as pool:

        def run(numbered: tuple[int, str]) -> dict[str, Any]:
            index, name = numbered
            folder = Path(top) / str(index)
            folder.mkdir()
            row = in_two_steps(name, folder)
            print(f"{name}: {status_of(row)}, {difference(row)}", file=sys.stderr, flush=True)
            return row

        rows = list(pool.map(run, enumerate(chosen)))
    known = arguments.output.with_suffix(".json")
    if wanted and known.exists():
        by_name = {row["name"]: row for row in [*json.loads(known.read_text(encoding="utf-8")), *rows]}
        rows = [by_name[name] for name in CONFIGURATIONS if name in by_name]
    known.write_text(json.dumps(rows, indent=1, default=str), encoding="utf-8")
    text = table(rows)
    print(text)
    arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

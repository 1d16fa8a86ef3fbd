"""What a batch costs by the closed form of its shape, and the counter that goes by it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import torch

from flopwatch.errors import ConfigError
from flopwatch.hardware.chips import Dtype
from flopwatch.lightning.counting import discovery
from flopwatch.lightning.counting.batches import UnreadableBatchError
from flopwatch.lightning.counting.counter import Cost, Look, Pattern, Seen, Subject
from flopwatch.lightning.counting.discovery import FoundModel
from flopwatch.lightning.counting.lengths import Lengths, reading_of
from flopwatch.lightning.counting.media_costs import MediaCosts, total
from flopwatch.lightning.counting.shapes import get, has_pairs_of_its_own, of_a_tuple, samples_of
from flopwatch.model import conventions
from flopwatch.model.architecture import Architecture, AttentionConvention, ComponentRow
from flopwatch.model.backward import Checkpointing, StepFlops, Trainable, TrainingStep
from flopwatch.model.batch import Batch
from flopwatch.model.components import Product
from flopwatch.model.shape_advice import shape_advice
from flopwatch.run.counts import UNKNOWN, Counts
from flopwatch.run.records import Verification, Work

_NO_SHAPE = "the shape of a batch is unknown; FLOPs and tokens are unknown from here on"
_NO_SIZES = "the sizes of a batch's images cannot be read; FLOPs and tokens are unknown from here on"
_OWN_MASK = (
    "the batch masks attention pair by pair, or by cu_seqlens alone, which flopwatch does not read, so all pairs of"
    " mask tensors count"
)
_MOST_SHAPES = 10_000
# Their classes in Hugging Face do not read from position ids where a document begins.
_NO_DOCUMENTS = frozenset(("albert", "bert", "bloom", "distilbert", "electra", "falcon"))
_NO_DOCUMENTS |= {"eurobert", "gpt_oss", "modernbert", "mpt", "neobert", "opt", "roberta", "xlm-roberta"}


class ClosedForm:
    """Costs from the architecture, computed once for every shape.

    Args:
        architecture: The model, under its own masks.
        attention: The convention to count with.
        trainable: Which parameters train.
        checkpointing: How layers are checkpointed, `None` if that is not known.
    """

    def __init__(
        self,
        architecture: Architecture,
        attention: AttentionConvention,
        trainable: Trainable,
        checkpointing: Checkpointing | None,
    ) -> None:
        self.architecture = architecture.counted_with(attention)
        self.trainable, self.checkpointing = trainable, checkpointing
        kind = checkpointing or "none"
        self._step = TrainingStep(self.architecture, trainable, kind)
        self._media = MediaCosts(self.architecture, trainable, kind, self._once)
        self._as_it_runs = TrainingStep(
            architecture.as_reference().with_full_attention(), trainable.as_reference(), kind
        )
        self.packs = (
            architecture.inputs == "tokens"
            and architecture.model_type not in _NO_DOCUMENTS
            and not any(isinstance(leaf, Product) for leaf, _, _ in architecture.leaves())
        )
        self._known: dict[Hashable, StepFlops] = {}

    def cost(self, shape: Batch) -> Cost:
        """What a shape costs; of packed documents the sum of what each would alone."""
        flops = self._flops(shape)
        hardware = None if self.checkpointing is None else flops.training + flops.recomputed
        return Cost(flops.training, hardware, flops.forward)

    def forward_cost(self, shape: Batch) -> Cost:
        """What a forward pass without a backward costs."""
        forward = self._flops(shape).forward
        return Cost(forward, forward, forward)

    def _flops(self, shape: Batch) -> StepFlops:
        if shape.grids or shape.sounds:
            return self._media.flops(shape)
        if not shape.documents:
            return self._whole(shape)
        return total(self._whole(Batch(1, length)) for length in shape.documents)

    def _whole(self, shape: Batch) -> StepFlops:
        return self._once(shape, lambda: self._step.flops(shape))

    def _once(self, key: Hashable, count: Callable[[], StepFlops]) -> StepFlops:
        flops = self._known.get(key)
        if flops is None:
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            flops = self._known[key] = count()
        return flops

    def as_it_runs(self, shape: Batch, *, forward_only: bool = False) -> tuple[int, int | None]:
        """FLOPs and recomputed FLOPs as the model's code runs them, over all pairs: what a watched batch shows."""
        flops = self._as_it_runs.flops(replace(shape, documents=()))
        if forward_only:
            return flops.forward, 0
        return flops.training, None if self.checkpointing is None else flops.recomputed

    def by_convention(self, shape: Batch) -> dict[str, int]:
        """What others would count, who know neither frozen parameters nor packed documents: else nothing."""
        if shape.documents or not self.trainable.everything:
            return {}
        return conventions.by_convention(self.architecture, shape)

    def shape_advice(self, shape: Batch, dtype: Dtype | None) -> tuple[str, ...]:
        """Return the sizes that cost speed in a precision of tensor cores, in words; nothing where parts are frozen."""
        if dtype is None or not self.trainable.everything:
            return ()
        return tuple(each.words for each in shape_advice(self.architecture, shape, dtype))

    def rows(self, shape: Batch, adapter_parameters: int) -> tuple[ComponentRow, ...]:
        """Return the per-component table, with a row for adapters and their parameters."""
        rows, added = self.architecture.rows(shape), self._step.flops(shape).added
        if added:
            rows.append(ComponentRow("adapters", adapter_parameters, added))
        return tuple(rows)


class ClosedFormCounter:
    """Counts batches by the closed form of the model's config, which the first watched one bore out.

    Args:
        subject: What is counted.
        found: The config and the module that it describes.
        note: How the two were held against each other.
        batch: The first batch.
        look: What was seen of it.
        training: How it trained.

    Raises:
        ConfigError: If what was seen is something else, or it is not sure what the model is fed.
    """

    def __init__(
        self, subject: Subject, found: FoundModel, note: str, batch: Any, look: Look, training: Pattern
    ) -> None:
        self._subject, self._found = subject, found
        self._checkpointing = discovery.checkpointing_of(found.module)
        self._forms: dict[int, ClosedForm] = {}
        self._known: dict[Any, Counts] = {}
        # What only values tell of a batch, unless the user's function tells all of it.
        self._told = None if subject.reader.is_users else found.architecture.told
        self._shorter_by = 0
        self._full_at = self._whole_step(training, look)
        stated = self._stated_at_first(batch)
        form = self._form(training)
        alone = self._is_forward_only(training)
        shape = stated if not isinstance(look, Seen) else self._shape_that_fits(form, stated, look, alone)
        self._shorter_by = stated.seq_len - shape.seq_len
        self._packed = form.packs
        if isinstance(look, Seen):
            if look.all_pairs.recomputed_flops != form.as_it_runs(shape, forward_only=alone)[1]:
                self._checkpointing = None
                self._forms.clear()
            self._packed = self._packed and not _keeps_documents_back(batch, look)
            self.work = self._described(training, shape, "verified", f"{note}; equal to a watched batch, to the FLOP")
        else:
            why = f"no batch could be watched as a check: {look or 'it was not watched'}"
            self._refuse_unless_sure(batch, why)
            self.work = self._described(training, shape, "formula only", f"{note}; {why}")

    def _whole_step(self, training: Pattern, look: Look) -> int:
        """How many backward passes are told of a step that is a forward and a backward: one, or none by hooks.

        Raises:
            ConfigError: If nothing was seen that would tell.
        """
        if not training.backwards and isinstance(look, Seen):
            return 0 if look.all_pairs.backward_flops else 1
        if training.backwards or self._subject.tells_forward_only(training):
            return 1
        raise ConfigError("it is unknown whether a backward pass ran")

    def _is_forward_only(self, training: Pattern) -> bool:
        """Whether a batch had no backward pass.

        Raises:
            ConfigError: If it had another number of them than the closed form is for, as far as that is told.
        """
        if training.backwards == self._full_at:
            return False
        if self._subject.tells_forward_only(training):
            return True
        raise ConfigError(
            f"a batch had {training.backwards} backward passes, but its closed form is for {self._full_at}"
        )

    def _stated_at_first(self, batch: Any) -> Batch:
        if self._subject.attention == "causal" and has_pairs_of_its_own(batch):
            raise ConfigError(_OWN_MASK)
        stated = self._told_of(batch, self._shape(batch))
        if stated is None or stated.empty:
            raise ConfigError("found no model input in the batch; pass FlopWatch(batch_shape=...)")
        return stated

    def _told_of(self, batch: Any, shape: Batch | None) -> Batch | None:
        """The shape with what a batch's values tell of it; waits for a watched batch's values, for a second at most."""
        if shape is None or self._told is None:
            return shape
        reading = reading_of(batch, packed=False, told=self._told.names)
        if reading is None or not reading.ready(wait=True):
            return None
        return self._with_told(shape, reading.lengths())

    def _with_told(self, shape: Batch, lengths: Lengths) -> Batch | None:
        if self._told is None:
            return shape
        try:
            return None if lengths.told is None else self._told.applied(shape, lengths.told)
        except (TypeError, ValueError, ArithmeticError):  # tensors of these names that hold something else
            return None

    def _refuse_unless_sure(self, batch: Any, why: str) -> None:
        if not self._subject.reader.is_sure(batch):
            raise ConfigError(f"{why}, and the batch may not be what the model receives")

    def _shape_that_fits(self, form: ClosedForm, stated: Batch, seen: Seen, alone: bool) -> Batch:
        """The batch's shape, or one token less where the last one is only a target."""
        cost_of_seen = seen.all_pairs.training_flops if seen.all_pairs.complete else None
        shapes = [stated, replace(stated, seq_len=stated.seq_len - 1)] if stated.seq_len > 1 else [stated]
        for shape in shapes:
            if form.as_it_runs(shape, forward_only=alone)[0] == cost_of_seen:
                return shape
        raise ConfigError(
            f"the step ran {seen.all_pairs.forward_flops + seen.all_pairs.backward_flops:,} FLOPs with all attention"
            f" pairs, but the closed form of {form.architecture.model_type} gives"
            f" {form.as_it_runs(stated, forward_only=alone)[0]:,}"
        )

    def _form(self, training: Pattern) -> ClosedForm:
        """Return the closed form for the parameters that train now.

        Raises:
            ConfigError: If that cannot be told from the parameters' names.
        """
        form = self._forms.get(training.parameters)
        if form is None:
            trainable = discovery.trainable_of(self._found)
            form = ClosedForm(self._found.architecture, self._subject.attention, trainable, self._checkpointing)
            self._forms[training.parameters] = form
        return form

    def count(self, batch: Any, look: Look, training: Pattern) -> Counts:
        """What a batch of its shape costs; a dictionary look-up where batches are pairs of tensors.

        Raises:
            ConfigError: If other parameters train, and it cannot be told which parts of the model they are.
        """
        like = self._like(batch, training)
        known = self._known.get(like) if like is not None else None
        if known is not None:
            return known
        form, shape, alone = self._form(training), self._shape(batch), self._is_forward_only(training)
        if shape is None:
            self._subject.warnings.say(_NO_SHAPE)
            return replace(UNKNOWN, samples=samples_of(batch))
        if shape.empty:
            self._subject.warnings.say(
                f"a batch without tokens ({shape.sequences} x {shape.seq_len}) counts as no work"
            )
            return Counts(samples=shape.sequences)
        amounts = self._subject.late.amounts(
            batch,
            lambda lengths: self._amounts(form, shape, lengths, alone),
            packed=self._packed,
            told=() if self._told is None else self._told.names,
        )
        if like is not None and len(self._known) < _MOST_SHAPES:
            self._known[like] = amounts
        return amounts

    def _like(self, batch: Any, training: Pattern) -> Any:
        """What batches have in common that cost the same, where that is plain at first sight; else nothing."""
        plain = None if self._subject.reader.is_users else of_a_tuple(batch)
        return None if plain is None else (training, plain)

    def _amounts(self, form: ClosedForm, shape: Batch, lengths: Lengths, alone: bool) -> Counts:
        told = self._with_told(shape, lengths)
        if told is None:
            self._subject.warnings.say(_NO_SIZES)
            return replace(UNKNOWN, samples=shape.sequences)
        shape = told
        if lengths.documents is not None and sum(lengths.documents) == shape.tokens:
            shape = Batch(shape.sequences, shape.seq_len, documents=lengths.documents)
        tokens, cost = form.architecture.tokens(shape) or None, form.forward_cost(shape) if alone else form.cost(shape)
        return Counts(cost.flops, tokens, shape.sequences, cost.hardware_flops, lengths.useful_tokens)

    def _shape(self, batch: Any) -> Batch | None:
        """Return the shape of a batch as the model sees it."""
        try:
            stated = self._subject.reader.shape(batch)
        except UnreadableBatchError as error:
            self._subject.warnings.say(str(error))
            return None
        if stated is None or not self._shorter_by:
            return stated
        return replace(stated, seq_len=max(stated.seq_len - self._shorter_by, 0))

    def knows(self, batch: Any, training: Pattern) -> bool:
        """Whether the closed form was made for what trains, and the batch's shape says what the model is fed."""
        reader = self._subject.reader
        return training.parameters in self._forms and (reader.is_users or reader.shape(batch) is not None)

    def cost(self, batch: Any, training: Pattern) -> Cost | None:
        """Return what a batch costs; unknown for a forward pass alone, and where values of it have to be read."""
        form, shape = self._form(training), self._shape(batch)
        documents = self._packed and isinstance(get(batch, "position_ids"), torch.Tensor)
        if shape is None or shape.empty or documents or self._told is not None or self._is_forward_only(training):
            return None
        return form.cost(shape)

    def objection(self, batch: Any, seen: Seen, training: Pattern) -> str | None:
        """What a later batch ran where the closed form gives something else.

        Raises:
            ConfigError: As `count`.
        """
        stated = self._shape(batch)
        if stated is None and seen.all_pairs.complete:
            return "the shape of a batch does not say what the model is fed"
        shape = self._told_of(batch, stated)
        if shape is None or shape.empty:
            return None
        self._packed = self._packed and not _keeps_documents_back(batch, seen)
        expected = self._form(training).as_it_runs(shape, forward_only=self._is_forward_only(training))[0]
        if seen.all_pairs.complete and seen.all_pairs.training_flops == expected:
            return None
        ran = seen.all_pairs.forward_flops + seen.all_pairs.backward_flops
        return f"the step no longer matches its closed form: {ran:,} FLOPs, not {expected:,}"

    def at_the_end(self) -> Work:
        """Return the description of the first batch, unchanged."""
        return self.work

    def _described(self, training: Pattern, shape: Batch, verification: Verification, note: str) -> Work:
        form = self._form(training)
        architecture, cost = form.architecture, form.cost(shape)
        return Work(
            verification=verification,
            note=note,
            method="config",
            model_type=architecture.model_type,
            parameters=architecture.parameters(),
            active_parameters=architecture.active_parameters(),
            trainable_parameters=self._subject.trainable_parameters(),
            attention=self._subject.attention,
            sequences=shape.sequences,
            seq_len=shape.seq_len,
            tokens=architecture.tokens(shape) or None,
            source_len=shape.source_len or None,
            image_size=shape.image_size,
            forward_flops=cost.forward_flops,
            training_flops=cost.flops,
            hardware_flops=cost.hardware_flops,
            components=form.rows(shape, discovery.adapter_parameters(self._found)),
            conventions=form.by_convention(shape),
            shape_advice=form.shape_advice(shape, self._subject.tensor_core_dtype()),
        )


def _keeps_documents_back(batch: Any, seen: Seen) -> bool:
    """Return whether the model did not see a batch's documents: then its attention is causal without a mask."""
    reading = reading_of(batch, packed=True)
    packed = reading is not None and reading.ready() and reading.lengths().documents is not None
    return packed and seen.counted.forward_flops != seen.all_pairs.forward_flops

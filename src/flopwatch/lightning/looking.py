"""Looking at what the live model is fed and returns during one training batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from flopwatch.batch import Batch
from flopwatch.components import Embedding
from flopwatch.lightning.discovery import FoundModel
from flopwatch.lightning.shapes import image_batch, is_images, is_tokens, token_batch


class Probe:
    """Sees what the model is fed and returns during one training batch; in between it leaves no trace on the module.

    It hooks the token embedding or, of models of images, the first convolution, and the model's output. Compiled
    modules are not hooked inside, since that could make them compile again.

    Args:
        found: The model.
    """

    def __init__(self, found: FoundModel) -> None:
        self.seen: list[Batch] = []
        self.seen_without_gradients: list[Batch] = []
        self.saw_logits = False
        self.saw_backward_of_logits = False
        self.position_ids_kept_back = False
        self.logit_rows: int | None = None
        words = [leaf for leaf, _, _ in found.architecture.leaves() if isinstance(leaf, Embedding) and leaf.words]
        # Hidden states as wide as the vocabulary look like logits, so then no output proves a head.
        widths = {each.table_rows for each in words if each.table_rows != each.features}
        self._logit_size = widths.pop() if len(widths) == 1 else None
        self._see = _images if found.architecture.inputs == "images" else _words
        self._targets = _probe_targets(found, {each.table_rows for each in words})
        self._output_of = found.module
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Start looking."""
        self.detach()
        self.seen, self.seen_without_gradients = [], []
        if self._targets:
            self._handles = [
                *(each.register_forward_pre_hook(self._look_at_input, with_kwargs=True) for each in self._targets),
                self._output_of.register_forward_hook(self._look_at_output, with_kwargs=True),
            ]

    def detach(self) -> None:
        """Stop looking."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _look_at_input(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        fed = next((shape for each in (*arguments, *named.values()) if (shape := self._see(each)) is not None), None)
        if fed is not None:
            (self.seen if torch.is_grad_enabled() else self.seen_without_gradients).append(fed)

    def _look_at_output(
        self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        self.position_ids_kept_back = named.get("position_ids") is None and len(arguments) <= 1
        values = output.values() if isinstance(output, Mapping) else output
        values = values if isinstance(values, Iterable) and not isinstance(values, torch.Tensor) else (values,)
        tensors = (each for each in values if isinstance(each, torch.Tensor))
        for logits in (each for each in tensors if each.dim() >= 2 and each.shape[-1] == self._logit_size):
            self.saw_logits = True
            self.logit_rows = logits.numel() // logits.shape[-1]
            if logits.requires_grad:
                logits.register_hook(self._look_at_gradient)
            break

    def _look_at_gradient(self, gradient: torch.Tensor) -> None:
        self.saw_backward_of_logits = True


def _words(value: Any) -> Batch | None:
    return token_batch(value) if is_tokens(value) else None


def _images(value: Any) -> Batch | None:
    return image_batch(value) if is_images(value) else None


def _probe_targets(found: FoundModel, vocabularies: set[int]) -> Sequence[nn.Module]:
    """The embedding that looks up tokens; of an encoder-decoder those of both sides."""
    modules = list(found.module.modules())
    if hasattr(found.module, "_orig_mod"):
        return [found.module]
    if any(hasattr(each, "_orig_mod") or getattr(each, "_compiled_call_impl", None) for each in modules):
        return []
    if getattr(found.module, "_compiler_ctx", None) is not None:
        return []
    embeddings: list[nn.Embedding] = [each for each in modules if isinstance(each, nn.Embedding)]
    if found.architecture.inputs == "images":
        return [each for each in modules if isinstance(each, nn.Conv2d)][:1]
    if not vocabularies:
        return []
    if found.architecture.inputs == "source and tokens":
        return [each for each in embeddings if each.num_embeddings in vocabularies]
    return [max(embeddings, key=lambda each: each.num_embeddings)] if embeddings else []


def reconcile_images(counted: Batch, seen: list[Batch]) -> tuple[int | None, str]:
    """Compare a batch of images with what the model was fed, as `reconcile` does."""
    if seen == [counted]:
        return 0, "the model is fed the images that the batch holds"
    return None, f"the batch holds {_named(counted)} but the model was fed {', '.join(map(_named, seen[:4])) or 'none'}"


def _named(images: Batch) -> str:
    height, width = images.image_size or (0, 0)
    return f"{images.sequences} images of {height} x {width}"


def reconcile(counted: Batch | None, seen: list[Batch]) -> tuple[int | None, str]:
    """Compare a batch's shape with what the model was fed.

    An encoder-decoder looks words up twice, for the source and for the target.

    Returns:
        How many tokens each sequence of a batch is shorter when it reaches the model (0 or 1), or `None` where the two
        cannot be reconciled; and a sentence.
    """
    hint = "pass FlopWatch(batch_shape=...), a function from a batch to (sequences, tokens per sequence)"
    if counted is None:
        return None, f"no tensor of token ids was found in the batch; {hint}"
    if not seen:
        return None, f"it could not be seen what the model is fed; {hint}"
    expected = [Batch(counted.sequences, length) for length in (counted.source_len, counted.seq_len) if length]
    fits = len(seen) == len(expected) and seen[:-1] == expected[:-1] and seen[-1].sequences == counted.sequences
    if fits and 0 <= counted.seq_len - seen[-1].seq_len <= 1:
        return counted.seq_len - seen[-1].seq_len, "the model is fed what the batch holds"
    shapes = ", ".join(f"{each.sequences} x {each.seq_len}" for each in seen[:4])
    return None, (
        f"the batch holds {counted.sequences} x {counted.seq_len} tokens but the model was fed {shapes}; {hint}"
    )

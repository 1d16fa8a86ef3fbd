"""The former place of `flopwatch.model.backward`."""

from flopwatch.model.backward import newton_schulz_flops, recomputation, training_flops

__all__ = ["newton_schulz_flops", "recomputation", "training_flops"]

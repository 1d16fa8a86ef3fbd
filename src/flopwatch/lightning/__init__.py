"""The Lightning side: hooks, kinds of time, ranks. This package and no other imports Lightning or torch.distributed."""

"""Prints the precision of products under torch's newer attribute."""

import torch

from flopwatch.lightning.counting.precision import _float32_matmul

torch.backends.cuda.matmul.fp32_precision = "tf32"
print(_float32_matmul())

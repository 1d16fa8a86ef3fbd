"""Prints the precision of convolutions under torch's newer attribute."""

import torch

from flopwatch.lightning.counting.precision import _float32_convolution

torch.backends.cudnn.conv.fp32_precision = "ieee"
print(_float32_convolution())
torch.backends.cudnn.conv.fp32_precision = "tf32"
print(_float32_convolution())

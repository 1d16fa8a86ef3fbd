"""A package of a user's with chips of its own."""

from flopwatch.hardware.chips import Chip


def chips():
    return [Chip(("NVIDIA Foo",), {"bf16": 5e12}, source="a package")]


def broken():
    raise RuntimeError("on purpose")

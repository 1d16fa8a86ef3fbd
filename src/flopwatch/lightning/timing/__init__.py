"""Timing: books every second of a fit under one kind."""

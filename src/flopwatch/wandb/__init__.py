"""Everything that is particular to Weights & Biases: running runs, their files, the workspace view, the terminal."""

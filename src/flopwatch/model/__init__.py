"""What a model costs: closed forms of its layers, by its config."""

"""Which kind of time every second was."""

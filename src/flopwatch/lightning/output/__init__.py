"""What a fit writes: loggers, run file, progress bar, alarms."""

"""A run as data: its records, totals, metrics, budgets and files."""

"""The command line as `python -m flopwatch`."""

from flopwatch.cli import run

if __name__ == "__main__":
    run()

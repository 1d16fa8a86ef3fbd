"""Runs a command within so many MiB of memory; python with its libraries takes a part of the first gigabyte."""

import resource
import sys


def run(command):
    from flopwatch.cli.command_line import main

    return main(command)


limit = int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(run(sys.argv[2:]))

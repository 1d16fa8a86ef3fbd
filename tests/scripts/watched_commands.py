"""Runs commands, and says on stderr whom they look up or connect to."""

import json
import sys


def hear(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto"):
        print("NETWORK", event, arguments, file=sys.stderr)


def run(commands):
    from flopwatch.cli.command_line import main

    return max(main(command) for command in commands)


sys.addaudithook(hear)
sys.exit(run(json.loads(sys.argv[1])))

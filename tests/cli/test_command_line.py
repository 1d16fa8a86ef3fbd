import pytest

import flopwatch
from flopwatch.cli.command_line import DONE, WRONG_USAGE, main


@pytest.mark.parametrize(
    "arguments",
    [
        ["dance"],
        ["--dance"],
        ["gpus", "x"],
        ["estimate"],
        ["estimate", "x", "--seq-len"],
        ["gpus", "--dtype", "bf32"],
        ["report"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    assert main(arguments) == WRONG_USAGE
    assert "usage:" in capsys.readouterr().err


def test_help_and_version_are_done(capsys):
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out.startswith(f"flopwatch {flopwatch.__version__}")


COMMANDS = ("estimate", "gpus", "watch", "ls", "report", "trace", "dashboard", "completion")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples_and_fits_eighty_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == DONE
    shown = capsys.readouterr().out
    options, _, examples = shown.partition("examples:\n")
    assert all(len(line) <= 80 for line in options.splitlines())
    assert f"  flopwatch {command}" in examples or f"(flopwatch {command} " in examples


def test_without_a_command_there_is_help(capsys):
    assert main([]) == DONE
    shown = capsys.readouterr().out
    assert shown.startswith("usage: flopwatch [options] COMMAND ...")
    assert all(f"\n    {each} " in shown for each in COMMANDS)


def test_a_misspelt_command_is_told_with_the_nearest(capsys):
    assert main(["repport"]) == WRONG_USAGE
    assert "there is no command 'repport'; did you mean 'report'?" in capsys.readouterr().err
    assert main(["estimate", "x", "--seqlen", "8"]) == WRONG_USAGE
    assert "there is no option '--seqlen'; did you mean '--seq-len'?" in capsys.readouterr().err


def test_the_package_itself_can_be_run(python):
    script = (
        "import runpy, sys; sys.argv = ['flopwatch', '--version']; runpy.run_module('flopwatch', run_name='__main__')"
    )
    assert python(script).stdout.startswith(f"flopwatch {flopwatch.__version__}")


def test_a_closed_pipe_is_no_failure(python, config):
    script = f"""
import subprocess, sys
command = [sys.executable, "-m", "flopwatch.cli"]
code = "import sys; from flopwatch.cli import main; sys.exit(main(['estimate', {str(config)!r}, '--seq-len', '8']))"
process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
process.stdout.close()
print(process.wait(), process.stderr.read())
"""
    assert python(script).stdout == "0 b''\n"

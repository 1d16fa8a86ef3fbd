import pytest

from flopwatch.cli.command_line import DONE, WRONG_USAGE, main


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["estimate"], ["estimate", "x", "--seq-len"], ["gpus", "--dtype", "bf32"], ["report"]]
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    assert main(arguments) == WRONG_USAGE
    assert "usage:" in capsys.readouterr().err


def test_help_and_version_are_done(capsys):
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out.startswith("flopwatch 0.1")
    for command in ("estimate", "gpus", "report"):
        assert main([command, "--help"]) == DONE


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

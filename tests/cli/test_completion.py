"""Scripts that shells complete with, run in the shells that are here."""

import shutil
import subprocess
import sys

import pytest

from flopwatch.cli.command_line import DONE, WRONG_USAGE, main

pytest.importorskip("shtab")


def test_a_script_for_every_shell_names_commands_and_options(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == DONE
        script = capsys.readouterr().out
        for word in ("estimate", "dashboard", "seq-len", "reentrant"):
            assert word in script, (shell, word)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (("flopwatch", "est"), "estimate"),
        (("flopwatch", "estimate", "--seq"), "--seq-len"),
        (("flopwatch", "estimate", "my-con"), "my-config.json"),
        (("flopwatch", "estimate", "my-config.json", "--chips", "my-ch"), "my-chips.csv"),
        (("flopwatch", "gpus", "--dtype", "bf"), "bf16"),
    ],
)
def test_bash_completes_commands_options_choices_and_files(tmp_path, capsys, typed, completed):
    assert main(["completion", "bash"]) == DONE
    for name in ("my-config.json", "my-chips.csv"):
        (tmp_path / name).touch()
    script = tmp_path / "complete.sh"
    words = " ".join(typed)
    ask = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _shtab_flopwatch flopwatch {typed[-1]} {typed[-2]}"
    script.write_text(f"{capsys.readouterr().out}\n{ask}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n")
    result = subprocess.run(["bash", str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.split() == [completed], result.stderr


def test_without_the_library_the_command_says_how_to_get_it(monkeypatch, assert_known_failure):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert_known_failure(["completion", "bash"], "pip install shtab")


def test_another_shell_is_wrong_usage(capsys):
    assert main(["completion", "bsh"]) == WRONG_USAGE
    assert "did you mean 'bash'?" in capsys.readouterr().err

from flopwatch.cli.command_line import FAILED, main


def assert_known_failure(arguments, said, capsys):
    assert main(arguments) == FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("flopwatch: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err

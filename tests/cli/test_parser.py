import pytest

from flopwatch.cli.parser import Parser, examples, nearest


@pytest.fixture
def parser():
    made = Parser("tool", epilog=examples(("tool read x", "reads x")))
    commands = made.add_subparsers(metavar="COMMAND", parser_class=Parser)
    read = commands.add_parser("read", help="read a file")
    read.add_argument("files", metavar="FILE", nargs="+")
    read.add_argument("--seq-len")
    read.add_argument("--dtype", choices=("bf16", "fp16"))
    made.read = read
    return made


def refused(parser, arguments, capsys):
    with pytest.raises(SystemExit) as told:
        parser.parse_args(arguments)
    assert told.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_what_was_probably_meant_is_named(parser, capsys):
    assert refused(parser, ["raed"], capsys) == "tool: there is no command 'raed'; did you mean 'read'?"
    assert refused(parser, ["zzz"], capsys) == "tool: there is no command 'zzz'; expected one of read"
    said = refused(parser, ["read", "x", "--dtype", "bf61"], capsys)
    assert said == "tool read: --dtype: 'bf61'; did you mean 'bf16'?"


@pytest.mark.parametrize(
    ("unknown", "said"),
    [
        (["--seqlen", "8"], "there is no option '--seqlen'; did you mean '--seq-len'?"),
        (["--seq=8"], "there is no option '--seq=8'; did you mean '--seq-len'?"),
        (["--zzz"], "there is no option '--zzz'; `tool read --help` lists the options"),
        (["x"], "unexpected argument 'x'; `tool read --help` shows what it takes"),
    ],
)
def test_an_unknown_argument_is_told_with_the_nearest_option(parser, unknown, said, capsys):
    with pytest.raises(SystemExit):
        parser.read.refuse(unknown)
    assert capsys.readouterr().err.splitlines() == ["usage: tool read [options] FILE ...", f"tool read: {said}"]


def test_help_fits_eighty_columns_and_ends_with_the_examples(parser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = parser.format_help()
    assert shown.startswith("usage: tool [options] COMMAND ...\n")
    assert shown.endswith("examples:\n  tool read x\n      reads x\n")


def test_what_is_far_from_everything_has_no_nearest():
    assert nearest("q", ["report", "watch"]) == ""
    assert nearest("rep", ["report", "watch"]) == "; did you mean 'report'?"

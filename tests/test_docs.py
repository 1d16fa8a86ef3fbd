"""Tables of the docs say what the code says."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_peaks_is_what_flopwatch_and_lightning_answer():
    peaks = benchmark("peaks")
    page = (ROOT / "docs" / "hardware.md").read_text()
    printed = page.partition("<!-- peaks -->\n")[2].partition("<!-- end of peaks -->")[0].splitlines()
    # Composer and torchtitan are not installed here: their columns are as they were measured.
    first_columns = [line.split("|")[:5] for line in printed]
    assert first_columns == [line.split("|")[:5] for line in peaks.table({"Lightning": peaks.lightnings})]
    assert len(printed) == 2 + 80


def test_the_counts_above_the_table_are_the_tables():
    page = (ROOT / "docs" / "hardware.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|") and line.count("|") == 7]
    for column, name in (
        (3, "Lightning answers {} wrongly and {}"),
        (4, "Composer {} and {}"),
        (5, "torchtitan {} and"),
    ):
        wrong = sum("**" in row[column] for row in rows)
        silent = sum(row[column].strip() == "n/a" for row in rows)
        assert name.format(wrong, silent) in page

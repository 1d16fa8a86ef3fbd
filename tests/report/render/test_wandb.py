from flopwatch.report.comparison import Entry
from flopwatch.report.render.wandb import texts


def test_every_section_is_a_heading_with_markdown_and_the_runs_are_linked():
    entries = [
        Entry("a *run*", {"mfu": 0.5}, url="https://wandb.ai/me/p/runs/r1?x=1&y=(2)"),
        Entry("local", {"mfu": 0.25}),
    ]
    glance, *_, runs = texts(entries)
    assert glance.heading == "At a glance"
    # The heading is W&B's block, so the text does not repeat it.
    assert glance.markdown.startswith("|  | a \\*run\\* | local |")
    assert "| MFU | ★ 50% | 25% |" in glance.markdown
    assert (runs.heading, runs.markdown) == (
        "The runs",
        "- [a \\*run\\*](https://wandb.ai/me/p/runs/r1?x=1&y=%282%29)",
    )


def test_without_an_address_there_is_no_list_of_runs():
    assert "The runs" not in {each.heading for each in texts([Entry("a"), Entry("b")])}

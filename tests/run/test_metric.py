"""What a row of the table says, for a person and a dashboard."""

from flopwatch.run.metric import Chart
from flopwatch.run.metric_table import METRICS


def test_every_row_has_words_and_says_when_it_is_absent():
    for metric in METRICS.values():
        assert all((metric.meaning, metric.absent, metric.words, metric.heading)), metric.key
        assert len(metric.heading) <= 12, metric.key


def test_a_chart_is_told_by_what_it_shows():
    assert Chart("Loss", "Loss", "") == Chart("Loss", "Loss", "")
    assert Chart("Loss", "Loss", "") != Chart("Loss", "Loss", "", smoothed=True)

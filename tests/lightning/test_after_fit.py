import json
import pickle

from flopwatch import FlopWatch
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests.lightning.models import TinyGPT, loader, trainer


def watched(tmp_path, **changes):
    return FlopWatch(peak_flops_per_second=1e12, dirpath=tmp_path, report=False, every_n_steps=2, **changes)


def test_after_a_fit_the_callback_has_the_report_of_its_run_file(tmp_path):
    watch = watched(tmp_path)
    assert watch.report is None
    assert watch.mfu is None
    trainer(tmp_path, watch, max_steps=6).fit(TinyGPT(), loader())
    written = summarize(read_run(tmp_path / "run.jsonl"))
    assert watch.report == written
    assert watch.report.step == 6
    assert watch.mfu == written.mfu > 0


def test_a_second_fit_replaces_the_first_ones_report(tmp_path):
    watch = watched(tmp_path)
    trainer(tmp_path, watch, max_steps=4).fit(TinyGPT(), loader())
    first = watch.report
    trainer(tmp_path, watch, max_steps=2).fit(TinyGPT(), loader())
    assert (first.step, watch.report.step) == (4, 2)


def test_where_training_never_began_there_is_none(tmp_path):
    watch = watched(tmp_path)
    trainer(tmp_path, watch, max_steps=0).fit(TinyGPT(), loader())
    assert watch.report is None


def test_checkpoints_do_not_hold_it_and_copies_do(tmp_path):
    watch = watched(tmp_path)
    trainer(tmp_path, watch, max_steps=4).fit(TinyGPT(), loader())
    json.dumps(watch.state_dict())
    assert pickle.loads(pickle.dumps(watch)).report == watch.report

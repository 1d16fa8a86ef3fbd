"""The sampling thread over the fake driver."""

SAMPLE = """
import logging, sys, threading, time
from flopwatch.sampler import ClockSampler
logging.basicConfig(format="%(message)s")
sampler = ClockSampler("cafe", interval_seconds=0.02)
sampler.start()
time.sleep(float(sys.argv[1]))
first = sampler.take()
exec(sys.argv[2])
time.sleep(0.3)
second = sampler.take()
started = time.perf_counter()
sampler.stop()
took = time.perf_counter() - started
print(first.count, first.mean_hz, first.min_hz, second.count, second.mean_hz, took < 1.5, threading.active_count())
"""


def sample(python, fake_driver, then="", before=0.3):
    result = python(SAMPLE, before, then, environment=fake_driver.environment())
    assert result.returncode == 0, result.stderr
    count, mean, low, count_2, mean_2, quick, threads = result.stdout.split()
    return int(count), eval(mean), eval(low), int(count_2), eval(mean_2), quick == "True", int(threads), result.stderr


def test_it_sees_the_clock_and_its_drop(python, fake_driver):
    fake_driver.set(uuid="GPU-cafe", sm_clock=1980)
    then = f"open({str(fake_driver.state)!r}, 'w').write('uuid=GPU-cafe\\nsm_clock=1500\\n')"
    count, mean, low, count_2, mean_2, quick, threads, _ = sample(python, fake_driver, then)
    assert count >= 3
    assert (mean, low) == (1980e6, 1980e6)
    assert count_2 >= 3
    assert 1500e6 <= mean_2 < 1600e6
    assert quick
    assert threads == 1


def test_the_driver_is_never_asked_from_the_calling_thread(python, fake_driver):
    fake_driver.set(uuid="GPU-cafe")
    sample(python, fake_driver)
    threads = {thread for thread, _ in fake_driver.calls()}
    assert len(threads) == 1
    assert fake_driver.calls()[0][1] == "nvmlInit"


def test_a_lost_gpu_ends_sampling_with_one_warning(python, fake_driver):
    fake_driver.set(uuid="GPU-cafe")
    then = f"open({str(fake_driver.state)!r}, 'w').write('uuid=GPU-cafe\\nerror.nvmlDeviceGetClockInfo=15\\n')"
    count, _, _, count_2, _, quick, threads, said = sample(python, fake_driver, then)
    assert count >= 3
    assert count_2 <= 1
    assert quick
    assert threads == 1
    assert said.count("clocks are not read any more") == 1


def test_slow_calls_stretch_the_interval(python, fake_driver):
    fake_driver.set(uuid="GPU-cafe", delay_us=20_000)
    count, _, _, count_2, _, quick, _, _ = sample(python, fake_driver)
    # 20 ms a call stretch the interval to 20 s once three calls took so long: three samples, no fourth.
    assert (count, count_2) == (3, 0)
    assert quick


def test_a_hanging_call_does_not_hold_up_the_end(python, fake_driver):
    fake_driver.set(uuid="GPU-cafe", delay_us=4_000_000)
    *_, quick, threads, _ = sample(python, fake_driver)
    assert quick
    assert threads == 2


def test_without_samples_nothing_is_known(python):
    script = "from flopwatch.sampler import ClockSampler; s = ClockSampler('cafe', 0.01); s.start(); s.stop()"
    result = python(f"{script}; print(s.take())")
    assert result.stdout == "ClockSamples(count=0, mean_hz=None, min_hz=None)\n"

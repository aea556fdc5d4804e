"""The three tasks: definitions, statistics, the random words they are made of, what trials depend on."""

import numpy as np
import oracle
import pytest
from scipy import stats

from fastrnn.counters import PROBE, TRAINING, VALIDATION
from fastrnn.errors import UsageError
from fastrnn.tasks import TASKS, Task, get_task

KEYS = np.array([3, 4, 2**63 + 3], np.uint64)


def draw(name, trials, keys=KEYS[:1], purpose=TRAINING, iteration=0, **settings):
    """Trials of the first network, float64: inputs (B, T, D) and targets (B, T, K)."""
    inputs, targets, mask = get_task(name, **settings).draw(keys, purpose, iteration, trials)
    assert np.all(mask == 1)
    return inputs[0].astype(np.float64), targets[0].astype(np.float64)


def within(value, expected, deviation, count):
    """Whether a mean of `count` draws of that standard deviation lies within 5 standard errors."""
    return abs(value - expected) < 5 * deviation / np.sqrt(count)


def oracle_words(key, purpose, iteration, trial, count, substream=0):
    """The first words of a trial's stream, from the oracle's Philox."""
    words = []
    for block in range((count + 3) // 4):
        counter = (block, trial, iteration, purpose + 256 * substream)
        words += oracle.philox4x32(counter, (int(key) & 0xFFFFFFFF, int(key) >> 32))
    return np.array(words[:count], np.int64)


# --- what every task has ---


@pytest.mark.parametrize(
    ("name", "D", "K", "T", "threshold"),
    [("flipflop", 3, 3, 100, 0.01), ("sine", 1, 1, 500, 0.02), ("cdi", 4, 1, 30, 0.6)],
)
def test_shapes_and_defaults(name, D, K, T, threshold):
    task = get_task(name)
    assert (task.name, task.D, task.K, task.T, task.threshold) == (name, D, K, T, threshold)
    inputs, targets, mask = task.draw(KEYS, TRAINING, 0, 2)
    assert (inputs.shape, targets.shape, mask.shape) == ((3, 2, T, D), (3, 2, T, K), (3, 2, T))
    assert inputs.dtype == targets.dtype == mask.dtype == np.float32


def test_the_tasks_of_the_paper_are_all_there():
    assert tuple(TASKS) == ("flipflop", "sine", "cdi")


@pytest.mark.parametrize("name", TASKS)
def test_trials_do_not_depend_on_grouping(name):
    """All networks together, one by one, in another order; many trials or few."""
    task = get_task(name)
    together = task.draw(KEYS, TRAINING, 5, 7)
    backwards = task.draw(KEYS[::-1], TRAINING, 5, 7)
    for i, key in enumerate(KEYS):
        alone = task.draw([key], TRAINING, 5, 7)
        few = task.draw([key], TRAINING, 5, 2)
        for whole, other, single, start in zip(together, backwards, alone, few, strict=True):
            np.testing.assert_array_equal(whole[i], single[0])
            np.testing.assert_array_equal(whole[i], other[len(KEYS) - 1 - i])
            np.testing.assert_array_equal(whole[i, :2], start[0])


@pytest.mark.parametrize("name", TASKS)
def test_no_two_networks_iterations_purposes_or_trials_are_the_same(name):
    task = get_task(name)
    trials = [
        trial.tobytes()
        for purpose in (TRAINING, VALIDATION, PROBE)
        for iteration in (0, 1, 2**31)
        for network in task.draw(KEYS, purpose, iteration, 4)[0]
        for trial in network
    ]
    assert len(set(trials)) == len(trials) == 3 * 3 * 3 * 4


@pytest.mark.parametrize("name", TASKS)
def test_probes_are_common_and_no_networks_trials(name):
    task = get_task(name)
    inputs, targets, mask = task.probe(6)
    assert (inputs.shape, targets.shape) == ((6, task.T, task.D), (6, task.T, task.K))
    assert mask.shape == (6, task.T)
    np.testing.assert_array_equal(inputs, get_task(name).probe(6)[0])
    assert len({trial.tobytes() for trial in inputs}) == 6


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("flipflop", {"channels": 2}),
        ("flipflop", {"steps": 40}),
        ("flipflop", {"pulse_probability": 0.5}),
        ("sine", {"steps": 40}),
        ("sine", {"frequency_slope": 0.02}),
        ("sine", {"frequency_offset": 0.02}),
        ("cdi", {"steps": 12}),
        ("cdi", {"mean_limit": 0.5}),
        ("cdi", {"noise": 0.5}),
    ],
)
def test_every_setting_changes_the_trials(name, changed):
    plain, other = get_task(name), get_task(name, **changed)
    assert dict(other.settings) == dict(plain.settings) | changed
    assert other.fingerprint != plain.fingerprint == get_task(name).fingerprint
    _, was, _ = plain.draw(KEYS, TRAINING, 0, 3)
    _, now, _ = other.draw(KEYS, TRAINING, 0, 3)
    assert was.shape != now.shape or not np.array_equal(was, now)


def test_every_setting_has_such_a_test():
    (mark,) = test_every_setting_changes_the_trials.pytestmark
    tried = {(name, setting) for name, changed in mark.args[1] for setting in changed}
    assert tried == {(name, setting) for name in TASKS for setting in get_task(name).settings}


# --- flipflop ---


def test_flipflop_remembers_the_last_pulse():
    inputs, targets = draw("flipflop", 20)
    for b in range(20):
        held = np.zeros(3)
        for t in range(100):
            for d in range(3):
                if inputs[b, t, d] != 0:
                    held[d] = inputs[b, t, d]
            np.testing.assert_array_equal(targets[b, t], held)


def test_flipflop_pulses():
    inputs, targets = draw("flipflop", 2000)
    assert set(np.unique(inputs)) == {-1.0, 0.0, 1.0}
    assert np.all(inputs[:, 0] != 0)
    later = inputs[:, 1:]
    assert within(np.mean(later != 0), 0.05, np.sqrt(0.05 * 0.95), later.size)
    for pulses in (inputs[:, 0], later[later != 0]):
        assert within(pulses.mean(), 0, 1, pulses.size)
    for d in range(3):  # no channel, and no later step, differs from the others
        assert within(np.mean(later[:, :, d] != 0), 0.05, np.sqrt(0.05 * 0.95), later[:, :, d].size)
    pairs = np.corrcoef(targets[:, -1].T)
    assert np.abs(pairs - np.eye(3)).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_flipflop_probability_at_its_ends(probability):
    inputs, _ = draw("flipflop", 50, pulse_probability=probability)
    assert np.all((inputs[:, 1:] != 0) == bool(probability))
    assert np.all(inputs[:, 0] != 0)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_flipflop_is_made_of_these_words(channels):
    """Pinned, so that trials stay the same integers on every engine and in every release."""
    inputs, _ = draw("flipflop", 2, KEYS[2:], VALIDATION, 9, channels=channels, steps=33)
    for b in range(2):
        words = oracle_words(KEYS[2], VALIDATION, 9, b, 33 * channels).reshape(33, channels)
        limit = int(0.05 * 2**32)
        expected = np.where(words < limit, np.where(2 * words < limit, 1.0, -1.0), 0.0)
        expected[0] = np.where(words[0] >= 2**31, 1.0, -1.0)
        np.testing.assert_array_equal(inputs[b], expected)


# --- sine ---


def test_sine_follows_the_commanded_frequency():
    inputs, targets = draw("sine", 50)
    u, t = inputs[:, 0, 0], np.arange(1, 501)
    assert np.all(inputs[:, :, 0] == u[:, None])
    expected = np.sin(2 * np.pi * (0.04 * u[:, None] + 0.01) * t)
    np.testing.assert_allclose(targets[:, :, 0], expected, atol=1e-6)


def test_sine_inputs_are_uniform():
    inputs, _ = draw("sine", 5000, steps=2)
    assert stats.kstest(inputs[:, 0, 0], "uniform").pvalue > 1e-3


def test_sine_is_made_of_these_words():
    inputs, _ = draw("sine", 4, KEYS[2:], VALIDATION, 9)
    words = [oracle_words(KEYS[2], VALIDATION, 9, b, 1)[0] for b in range(4)]
    np.testing.assert_array_equal(inputs[:, 0, 0], [(word >> 8) / 2**24 for word in words])


# --- cdi ---


def test_cdi_integrates_the_cued_stream():
    inputs, targets = draw("cdi", 50)
    for b in range(50):
        context = int(inputs[b, 0, 1])
        assert np.all(inputs[b, :, context] == 1)
        assert np.all(inputs[b, :, 1 - context] == 0)
        total = 0.0
        for t in range(30):
            total += inputs[b, t, 2 + context]
            np.testing.assert_allclose(targets[b, t, 0], total, rtol=1e-6, atol=1e-6)


def test_cdi_streams():
    B = 4000
    inputs, targets = draw("cdi", B)
    assert within(inputs[:, 0, 1].mean(), 0.5, 0.5, B)
    for stream in (inputs[:, :, 2], inputs[:, :, 3]):
        # a mean of 30 draws: the stream's own mean, U(-1, 1) of variance 1/3, and noise of variance 1/30
        means = stream.mean(axis=1)
        assert within(means.mean(), 0, np.sqrt(1 / 3 + 1 / 30), B)
        assert within(means.var(), 1 / 3 + 1 / 30, 0.5, B)
        assert within(stream.var(axis=1, ddof=1).mean(), 1.0, np.sqrt(2 / 29), B)
    for one, other in (
        (inputs[:, 0, 1], inputs[:, 5, 2]),
        (inputs[:, :, 2].mean(1), inputs[:, :, 3].mean(1)),
    ):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(B)
    # the mean over t of t + t^2 / 3, what a network that always answers 0 loses
    expected = np.mean(np.arange(1, 31) + np.arange(1, 31) ** 2 / 3)
    assert round(expected, 1) == 120.6
    assert within(np.mean(targets**2), expected, np.std(np.mean(targets**2, axis=(1, 2))), B)


def test_cdi_without_noise_shows_the_means():
    inputs, _ = draw("cdi", 4000, noise=0.0)
    for d in (2, 3):
        assert np.all(inputs[:, :, d] == inputs[:, :1, d])
        assert stats.kstest(inputs[:, 0, d], "uniform", (-1, 2)).pvalue > 1e-3
    noisy, _ = draw("cdi", 4000)
    noise = (noisy - inputs)[:, :, 2:]
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[:, :, 0].ravel(), noise[:, :, 1].ravel())[0, 1]) < 5 / np.sqrt(4000 * 30)


def test_cdi_is_made_of_these_words():
    inputs, _ = draw("cdi", 4, KEYS[2:], VALIDATION, 9, noise=0.0)
    for b in range(4):
        context, first, second = oracle_words(KEYS[2], VALIDATION, 9, b, 3)
        assert inputs[b, 0, 1] == (context >= 2**31)
        means = np.float32([first * 2.0**-31 - 1, second * 2.0**-31 - 1])
        np.testing.assert_array_equal(inputs[b, 0, 2:], means)
    noise = draw("cdi", 1, KEYS[2:], VALIDATION, 9)[0] - draw("cdi", 1, KEYS[2:], VALIDATION, 9, noise=0.0)[0]
    raw = oracle_words(KEYS[2], VALIDATION, 9, 0, 60, substream=1)
    radius = np.sqrt(-2 * np.log(((raw[:30] >> 9) + 0.5) / 2**23))
    np.testing.assert_allclose(np.linalg.norm(noise[0, :, 2:].reshape(2, 30), axis=0), radius, rtol=1e-5)


# --- errors ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: get_task("flipflap"),
            "unknown task 'flipflap' .did you mean 'flipflop'.*; allowed are flipflop, sine",
        ),
        (
            lambda: get_task("zzz"),
            "unknown task 'zzz'; allowed are flipflop, sine, cdi, or your own as file.py:name",
        ),
        (
            lambda: get_task("sine", dt=0.1),
            "task 'sine' has no setting 'dt'; its settings are steps, frequency_slope",
        ),
        (
            lambda: get_task("flipflop", steps=0),
            "task 'flipflop': steps must be a whole number from 1 to .*; it is 0",
        ),
        (lambda: get_task("flipflop", steps=True), "steps must be a whole number .* it is True"),
        (lambda: get_task("flipflop", steps=2.5), "steps must be a whole number .* it is 2.5"),
        (
            lambda: get_task("flipflop", pulse_probability=1.5),
            "pulse_probability must be a number from 0 to 1; it is 1.5",
        ),
        (lambda: get_task("cdi", noise=float("nan")), "noise must be a number from 0 to 100; it is nan"),
        (lambda: get_task("cdi", noise="loud"), "noise must be a number from 0 to 100; it is 'loud'"),
        (
            lambda: get_task("cdi").draw([1], TRAINING, 0, 0),
            "trials must be a positive whole number; it is 0",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_a_whole_number_may_be_written_with_a_point():
    """As TOML and JSON files do."""
    assert get_task("cdi", steps=12.0).fingerprint == get_task("cdi", steps=12).fingerprint
    assert isinstance(get_task("cdi", steps=12.0).T, int)
    assert get_task("cdi", noise=1).fingerprint == get_task("cdi", noise=1.0).fingerprint


def test_a_task_passes_through():
    task = get_task("cdi")
    assert isinstance(task, Task)
    assert get_task(task) is task
    with pytest.raises(UsageError, match="task 'cdi' is given as an object; change its settings there"):
        get_task(task, steps=3)

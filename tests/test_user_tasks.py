"""Users' own tasks: a numba function or a Python function giving arrays, from a file or an object."""

import copy
import importlib
import os
import pickle
import subprocess
import sys
import textwrap
import time
from functools import lru_cache, partial
from pathlib import Path

import numba
import numpy as np
import pytest

from fastrnn import engines
from fastrnn.counters import TRAINING, VALIDATION, normals, uniforms, words
from fastrnn.errors import Status, UsageError
from fastrnn.networks import Networks
from fastrnn.optimizer import Optimizer
from fastrnn.plan import work_of
from fastrnn.spec import PopulationSpec
from fastrnn.tasks import Task, get_task
from fastrnn.training import train

ROOT = Path(__file__).resolve().parents[1]
KEYS = np.array([11, 12], np.uint64)


def delay(stream, settings, inputs, targets, mask):
    """Repeat the input some steps later; the steps before do not count."""
    lag = int(settings[0])
    uniforms(stream, inputs[:, 0])
    for t in range(inputs.shape[0]):
        if t < lag:
            mask[t] = 0
        else:
            targets[t, 0] = inputs[t - lag, 0]


def delay_batch(rng, settings, trials):
    """The same as arrays."""
    lag, T = int(settings["lag"]), 9
    inputs = rng.uniform(size=(trials, T, 1))
    targets, mask = np.zeros((trials, T, 1)), np.zeros((trials, T))
    targets[:, lag:], mask[:, lag:] = inputs[:, : T - lag], 1.0
    return inputs, targets, mask


def compiled_task(**changes):
    return Task(**({"name": "delay", "D": 1, "K": 1, "T": 9, "trial": delay, "settings": {"lag": 2}} | changes))


def array_task(**changes):
    given = {"name": "delay", "D": 1, "K": 1, "T": 9, "batch": delay_batch, "settings": {"lag": 2}}
    return Task(**(given | changes))


BOTH = pytest.mark.parametrize("make", [compiled_task, array_task])


@BOTH
def test_trials_follow_the_definition(make):
    task = make()
    inputs, targets, mask = task.draw(KEYS, TRAINING, 0, 5)
    assert (inputs.shape, targets.shape, mask.shape) == ((2, 5, 9, 1), (2, 5, 9, 1), (2, 5, 9))
    assert inputs.dtype == targets.dtype == mask.dtype == np.float32
    np.testing.assert_array_equal(targets[:, :, 2:], inputs[:, :, :-2])
    np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(9) >= 2, mask.shape))


@BOTH
def test_trials_hang_on_key_purpose_and_iteration_only(make):
    task = make()
    together = task.draw(KEYS, TRAINING, 3, 5)[0]
    np.testing.assert_array_equal(task.draw(KEYS[1:], TRAINING, 3, 5)[0][0], together[1])
    different = [task.draw(KEYS, *rest, 5)[0] for rest in ((TRAINING, 4), (VALIDATION, 3))]
    seen = {trial.tobytes() for array in (together, *different) for network in array for trial in network}
    assert len(seen) == 3 * 2 * 5
    np.testing.assert_array_equal(task.probe(4)[0], make().probe(4)[0])


@BOTH
def test_settings_reach_the_function_and_the_fingerprint(make):
    task = make(settings={"lag": 4})
    inputs, targets, mask = task.draw(KEYS, TRAINING, 0, 2)
    np.testing.assert_array_equal(targets[:, :, 4:], inputs[:, :, :-4])
    assert mask[0, 0].sum() == 5
    assert task.fingerprint != make().fingerprint == make().fingerprint


def test_no_mask_means_that_every_step_counts():
    def plain(stream, settings, inputs, targets, mask):
        normals(stream, inputs[:, 0])

    def plain_batch(rng, settings, trials):
        return rng.normal(size=(trials, 4, 1)), np.zeros((trials, 4, 1))

    for given in ({"trial": plain}, {"batch": plain_batch}):
        _, targets, mask = Task("plain", D=1, K=1, T=4, **given).draw(KEYS, TRAINING, 0, 3)
        assert np.all(mask == 1)
        assert not targets.any()


def test_a_function_that_numba_has_compiled_already_is_taken():
    task, jitted = compiled_task(), compiled_task(trial=numba.njit(delay))
    for ours, theirs in zip(task.draw(KEYS, TRAINING, 0, 2), jitted.draw(KEYS, TRAINING, 0, 2), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_two_tasks_of_one_name_do_not_share_code():
    def other(stream, settings, inputs, targets, mask):
        inputs[:, 0] = 3.0

    first = compiled_task().draw(KEYS, TRAINING, 0, 1)[0]
    assert np.all(compiled_task(trial=other).draw(KEYS, TRAINING, 0, 1)[0] == 3.0)
    np.testing.assert_array_equal(compiled_task().draw(KEYS, TRAINING, 0, 1)[0], first)
    assert compiled_task(trial=other).fingerprint != compiled_task().fingerprint


def test_several_arrays_of_random_numbers():
    """Words, uniforms and normals in one trial, several inputs and outputs, T = 1."""

    def mixed(stream, settings, inputs, targets, mask):
        raw = np.empty(2, np.uint32)
        words(stream, raw)
        uniforms(stream, inputs[0])
        normals(stream, targets[0])
        mask[0] = 1 + raw[0] % 3

    inputs, targets, mask = Task("mixed", D=3, K=2, T=1, trial=mixed).draw(KEYS, TRAINING, 0, 50)
    assert inputs.min() >= 0
    assert inputs.max() < 1
    assert len(np.unique(targets)) == targets.size
    assert set(np.unique(mask)) == {1.0, 2.0, 3.0}


FILE = """
import numpy as np
from fastrnn import Task
from fastrnn.counters import uniforms

SCALE = 2.0

def trial(stream, settings, inputs, targets, mask):
    uniforms(stream, inputs[:, 0])
    targets[:, 0] = SCALE * settings[0] * np.sqrt(inputs[:, 0])

def batch(rng, settings, trials):
    inputs = rng.uniform(size=(trials, 6, 1))
    return inputs, SCALE * settings["gain"] * np.sqrt(inputs)

compiled = Task("roots", D=1, K=1, T=6, trial=trial, settings={"gain": 1.5}, threshold=0.1)
arrays = Task("roots", D=1, K=1, T=6, batch=batch, settings={"gain": 1.5})
number = 3
"""


HELPER = """
import numba

@numba.njit
def scale():
    return SCALE
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", ["compiled", "arrays"])
def test_a_task_from_a_file(file, name):
    task = get_task(f"{file}:{name}", gain=0.5)
    assert (task.name, task.settings["gain"]) == ("roots", 0.5)
    inputs, targets, _ = task.draw(KEYS, TRAINING, 0, 3)
    np.testing.assert_allclose(targets, np.sqrt(inputs), rtol=1e-6)
    assert task.fingerprint == get_task(f"{file}:{name}", gain=0.5).fingerprint
    assert task.fingerprint != get_task(f"{file}:{name}").fingerprint
    assert get_task(f"{file}:compiled").threshold == 0.1


def test_a_changed_file_is_another_task(file):
    before = get_task(f"{file}:compiled").fingerprint
    file.write_text(FILE.replace("np.sqrt(inputs[:, 0])", "np.cbrt(inputs[:, 0])"))
    assert get_task(f"{file}:compiled").fingerprint != before


def test_a_changed_constant_or_helper_is_another_task(file):
    """A run whose networks were trained on either is of two tasks."""
    seen = set()
    for text in (FILE, FILE.replace("SCALE = 2.0", "SCALE = 3.0"), FILE.replace("SCALE *", "scale() *") + HELPER):
        file.write_text(text)
        seen |= {get_task(f"{file}:compiled").fingerprint, get_task(f"{file}:arrays").fingerprint}
    file.write_text(FILE.replace("SCALE *", "scale() *") + HELPER.replace("return", "return 2 *"))
    seen |= {get_task(f"{file}:compiled").fingerprint, get_task(f"{file}:arrays").fingerprint}
    assert len(seen) == 8
    file.write_text(FILE.replace("number = 3", "number = 4\nCACHE = {}\n"))  # which they don't refer to
    assert get_task(f"{file}:arrays").fingerprint in seen


def scaled(rng, settings, trials, gain=1.0):
    inputs = rng.uniform(size=(trials, 9, 1))
    return inputs, gain * CACHE.setdefault("gain", settings["lag"]) * inputs


CACHE = {"gain": np.ones(1)}


class Scaled:
    """A task's function with a state."""

    def __init__(self, gain):
        self.gain = gain

    def __call__(self, rng, settings, trials):
        return scaled(rng, settings, trials, self.gain)

    def method(self, rng, settings, trials):
        return scaled(rng, settings, trials, self.gain)


def enclosing(gain):
    return lambda rng, settings, trials: scaled(rng, settings, trials, gain)


@pytest.mark.parametrize(
    "make",
    [
        lambda gain: partial(scaled, gain=gain),
        lambda gain: partial(partial(scaled, gain=gain), settings=None),
        enclosing,
        lambda gain: lambda rng, settings, trials, gain=gain: scaled(rng, settings, trials, gain),
        lambda gain: partial(scaled, gain=np.full(3, gain)),
    ],
)
def test_values_that_a_function_holds_make_it_another_task(make):
    one, same, other = (array_task(batch=make(gain)).fingerprint for gain in (1.0, 1.0, 2.0))
    assert one == same != other


def counting(rng, settings, trials):
    global DRAWN
    DRAWN += trials
    return scaled(rng, settings, trials, os.path.exists(__file__))


DRAWN = 0


@lru_cache
def factor(one):
    return one * 2


def with_a_cache(rng, settings, trials):
    return scaled(rng, settings, trials, factor(1) + factor(2))


@pytest.mark.parametrize("batch", [scaled, counting, with_a_cache, Scaled(2.0), Scaled(2.0).method, max, np.add])
def test_what_a_function_keeps_for_itself_does_not_make_it_another(monkeypatch, batch):
    before = array_task(batch=batch).fingerprint
    monkeypatch.setitem(CACHE, "drawn", np.zeros(3))
    monkeypatch.setattr(sys.modules[__name__], "DRAWN", 7)
    if not isinstance(batch, Scaled):  # whose source Python finds by it
        monkeypatch.setattr(sys.modules[__name__], "__file__", "another.py")
    assert array_task(batch=batch).fingerprint == before


def test_functions_below_the_task_and_those_that_call_each_other(tmp_path, monkeypatch):
    """As an object and from its file it is the same task."""
    text = """
        from fastrnn import Task
        def batch(rng, settings, trials):
            return even(trials), None
        late = Task("late", 1, 1, 2, batch=batch)
        def even(n):
            return n == 0 or odd(n - 1)
        def odd(n):
            return n != 0 and even(n - 1)
    """
    (tmp_path / "late_task.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    late = importlib.import_module("late_task").late
    assert late.fingerprint == get_task(f"{tmp_path / 'late_task.py'}:late").fingerprint
    (tmp_path / "late_task.py").write_text(textwrap.dedent(text).replace("n != 0", "n > 0"))
    assert late.fingerprint != get_task(f"{tmp_path / 'late_task.py'}:late").fingerprint


def test_a_function_without_a_file_is_the_same_task_in_every_process(tmp_path):
    code = (
        "from fastrnn import Task\n"
        "def batch(rng, settings, trials):\n"
        "    pick = [x for x in rng.uniform(size=trials) if x in {0.5, 'a', 'b', 'c'} or (lambda y: y + GAIN)(x)]\n"
        "    return pick, pick\n"
        "GAIN = {gain}\n"
        "print(Task('piped', 1, 1, 2, batch=batch).fingerprint)"
    )
    said = []
    for gain, seed in ((1, "1"), (1, "2"), (2, "3")):
        command = [sys.executable, "-c", code.replace("{gain}", str(gain))]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        said.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert said[0] == said[1] != said[2]


@BOTH
def test_a_task_goes_to_other_processes(make):
    task = make()
    task.draw(KEYS, TRAINING, 0, 1)  # compiled here
    for other in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert other.fingerprint == task.fingerprint and other.settings == task.settings
        np.testing.assert_array_equal(other.draw(KEYS, TRAINING, 0, 2)[1], task.draw(KEYS, TRAINING, 0, 2)[1])
    spec = PopulationSpec(task, iterations=3)
    assert pickle.loads(pickle.dumps(spec)).to_toml() == spec.to_toml()


def test_mistakes_in_naming_a_file(file, tmp_path):
    with pytest.raises(UsageError, match=r"there is no file '.*absent\.py'"):
        get_task(f"{tmp_path / 'absent.py'}:task")
    with pytest.raises(UsageError, match=r"mine\.py must define other = fastrnn\.Task"):
        get_task(f"{file}:other")
    with pytest.raises(UsageError, match=r"mine\.py must define number = fastrnn\.Task"):
        get_task(f"{file}:number")
    with pytest.raises(UsageError, match="has no setting 'lag'; its settings are gain"):
        get_task(f"{file}:compiled", lag=3)
    with pytest.raises(UsageError, match=r"mine\.py:': give the name of the Task in .*mine\.py after the colon"):
        get_task(f"{file}:")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(UsageError, match=r"leaves\.py could not be run \(SystemExit: 3\)"):
        get_task(f"{tmp_path / 'leaves.py'}:task")
    (tmp_path / "plain.py").write_text(FILE + "\nplain = Task('plain', 1, 1, 5, batch=len)\n")
    with pytest.raises(UsageError, match="has no setting 'lag'; it has none at all"):
        get_task(f"{tmp_path / 'plain.py'}:plain", lag=3)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(UsageError, match=r"broken\.py could not be run \(ModuleNotFoundError: No module named"):
        get_task(f"{tmp_path / 'broken.py'}:task")
    with pytest.raises(UsageError, match=r"task must be a name, file\.py:name or a Task; it is 5"):
        get_task(5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"D": 0}, "task 'delay': D must be a positive whole number; it is 0"),
        ({"K": 1.5}, "task 'delay': K must be a positive whole number; it is 1.5"),
        ({"T": -1}, "task 'delay': T must be a positive whole number; it is -1"),
        ({"batch": delay_batch}, "task 'delay': give either trial= or batch=, one of the two"),
        ({"trial": None}, "task 'delay': give either trial= or batch=, one of the two"),
        ({"settings": {"lag": "two"}}, "task 'delay': setting 'lag' must be a finite number; it is 'two'"),
        (
            {"settings": {"lag": float("nan")}},
            "task 'delay': setting 'lag' must be a finite number; it is nan",
        ),
        ({"settings": {"lag": 10**400}}, "task 'delay': setting 'lag' must be a finite number; it is 1000"),
        ({"settings": {3: 1.0}}, "task 'delay': settings must be a dict of names and numbers; it is {3: 1"),
        ({"settings": [2]}, r"task 'delay': settings must be a dict of names and numbers; it is \[2\]"),
        ({"threshold": "low"}, "task 'delay': threshold must be a number, 0 or more; it is 'low'"),
        ({"threshold": float("nan")}, "task 'delay': threshold must be a number, 0 or more; it is nan"),
        ({"threshold": -1}, "task 'delay': threshold must be a number, 0 or more; it is -1"),
        ({"trial": 5}, "task 'delay': trial or batch must be a function; it is 5"),
        ({"name": 5}, "a task's name must be a text without slashes, not empty; it is 5"),
        ({"name": " "}, "a task's name must be a text without slashes, not empty; it is ' '"),
        ({"name": "../delay"}, r"a task's name must be a text without slashes, not empty; it is '\.\./delay'"),
    ],
)
def test_mistakes_in_a_task(change, message):
    with pytest.raises(UsageError, match=message):
        compiled_task(**change)


def test_the_name_of_a_built_in_task_is_taken(tmp_path):
    """Runs and analyses know a task by its name."""
    task = array_task(name="flipflop")
    message = "a task of your own can't be named 'flipflop', as a built-in one is; give it another name"
    for use in (get_task, PopulationSpec):
        with pytest.raises(UsageError, match=message):
            use(task)
    (tmp_path / "mine.py").write_text(
        "import fastrnn\nmine = fastrnn.Task('flipflop', 1, 1, 2, batch=lambda rng, settings, trials: None)\n"
    )
    with pytest.raises(UsageError, match=message):
        get_task(f"{tmp_path / 'mine.py'}:mine")


def test_numbers_of_numpy_become_plain_ones():
    task = array_task(
        D=np.int64(1), threshold=np.float32(0.5), settings={"lag": np.int64(2), "gain": np.float32(0.5), "hard": True}
    )
    made = [task.D, task.threshold, *task.settings.values()]
    assert [(type(value), value) for value in made] == [(int, 1), (float, 0.5), (int, 2), (float, 0.5), (int, 1)]
    assert task.fingerprint == array_task(settings={"lag": 2, "gain": 0.5, "hard": 1}).fingerprint


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda B: np.zeros((B, 9, 1)),
            r"batch must return \(inputs, targets\) or \(inputs, targets, mask\)",
        ),
        (
            lambda B: (np.zeros((B, 9, 1)),),
            r"batch must return \(inputs, targets\) or \(inputs, targets, mask\)",
        ),
        (
            lambda B: (np.zeros((B, 9, 2)), np.zeros((B, 9, 1))),
            r"batch must return inputs of shape \(5, 9, 1\); got \(5, 9, 2\)",
        ),
        (
            lambda B: (np.zeros((B, 9, 1)), np.zeros((B, 9))),
            r"batch must return targets of shape \(5, 9, 1\); got \(5, 9\)",
        ),
        (
            lambda B: (np.zeros((B, 9, 1)), np.zeros((B, 9, 1)), np.ones(9)),
            r"batch must return mask of shape \(5, 9\); got \(9,\)",
        ),
        (
            lambda B: (np.full((B, 9, 1), np.nan), np.zeros((B, 9, 1))),
            r"task 'delay': the batch's inputs must be finite; inputs\[0, 0, 0\] is nan",
        ),
        (
            lambda B: (np.zeros((B, 9, 1)), np.full((B, 9, 1), 1e300)),
            r"the batch's targets must be finite in float32, at most 3.4e\+38; targets\[0, 0, 0\] is 1e\+300",
        ),
        (
            lambda B: (np.zeros((B, 9, 1)), np.zeros((B, 9, 1), complex)),
            "task 'delay': the batch's targets must be an array of real numbers; it holds complex128",
        ),
        (
            lambda B: ([[1.0], [1.0, 2.0]], np.zeros((B, 9, 1))),
            "task 'delay': the batch's inputs must be an array of real numbers; its rows have different",
        ),
    ],
)
def test_mistakes_in_what_a_batch_returns(made, message):
    task = array_task(batch=lambda rng, settings, trials: made(trials))
    with pytest.raises(UsageError, match=message):
        task.draw(KEYS, TRAINING, 0, 5)


@pytest.mark.parametrize("weights", [np.zeros((5, 9)), np.full((5, 9), -1.0)])
def test_a_mask_must_count_something(weights):
    def batch(rng, settings, trials):
        return np.zeros((trials, 9, 1)), np.zeros((trials, 9, 1)), weights

    with pytest.raises(UsageError, match="task 'delay': mask must be 0 or greater and somewhere greater than 0"):
        array_task(batch=batch).draw(KEYS, TRAINING, 0, 5)


def test_a_trial_that_fails_is_a_usage_error():
    def failing(stream, settings, inputs, targets, mask):
        raise ValueError("no such thing")

    with pytest.raises(UsageError, match=r"task 'delay': the trial function failed: ValueError\('no such thing'\)"):
        compiled_task(trial=failing).draw(KEYS, TRAINING, 0, 1)


def test_a_trial_that_numba_cannot_compile_is_a_usage_error():
    def confused(stream, settings, inputs, targets, mask):
        inputs[:, 0] = "text" + 3

    with pytest.raises(UsageError, match="task 'delay'"):
        compiled_task(trial=confused).draw(KEYS, TRAINING, 0, 1)


def test_a_trial_that_writes_outside_its_arrays_is_a_usage_error():
    def beyond(stream, settings, inputs, targets, mask):
        for t in range(inputs.shape[0] + 1):
            inputs[t, 0] = 1.0

    with pytest.raises(UsageError, match=r"task 'delay'.*out of bounds"):
        compiled_task(trial=beyond).draw(KEYS, TRAINING, 0, 1)


def test_settings_cannot_be_changed_behind_the_tasks_back():
    settings = {"lag": 2}
    task = compiled_task(settings=settings)
    settings["lag"] = 5
    assert task.settings["lag"] == 2
    with pytest.raises(TypeError, match="does not support item assignment"):
        task.settings["lag"] = 3


def fails_late(stream, settings, inputs, targets, mask):
    if stream.purpose == 1 and stream.iteration >= 2:
        raise ValueError("not any more")
    inputs[:] = 1


def test_a_trial_that_fails_late_ends_the_network_not_the_training():
    task = Task("late", D=1, K=1, T=3, trial=fails_late)
    networks = Networks.initialize("gru", "tanh", 4, 1, 1, [1, 2])
    optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=5)
    losses = engines.get("cpu", threads=2).advance(networks, optimizer, task, 5, batch=4)
    assert optimizer.status.tolist() == [Status.DIVERGED] * 2
    assert optimizer.iteration.tolist() == [2, 2]
    assert np.isfinite(losses[:, :2]).all() and np.isnan(losses[:, 2:]).all()
    assert np.isfinite(networks.parameters).all()


def beyond_at_times(stream, settings, inputs, targets, mask):
    """One trial of iteration 2 writes far behind its arrays."""
    inputs[:] = 1
    step = 10**12 if stream.purpose == TRAINING and stream.iteration == 2 and stream.trial == 3 else 0
    targets[step, 0] = 1


def not_finite_at_times(stream, settings, inputs, targets, mask):
    inputs[:] = 1
    if stream.purpose == int(settings[0]) and stream.trial == 3:
        targets[1, 0] = np.nan


def test_a_trial_that_seldom_writes_outside_its_arrays_does_no_harm():
    task = Task("beyond", D=1, K=1, T=3, trial=beyond_at_times)
    networks = Networks.initialize("gru", "tanh", 4, 1, 1, [1])
    optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=5)
    engines.get("cpu", threads=1).advance(networks, optimizer, task, 5, batch=4)
    assert (optimizer.status[0], optimizer.iteration[0]) == (Status.DIVERGED, 2)
    assert task.fault(1, TRAINING, 1, 4) == "" == task.fault(1, TRAINING, 2, 3)
    assert "goes beyond its arrays" in task.fault(1, TRAINING, 2, 4)
    assert get_task("cdi").fault(1, TRAINING, 2, 4) == ""


@pytest.mark.parametrize(
    ("trial", "purpose", "message"),
    [
        (beyond_at_times, 0, "goes beyond its arrays (index is out of bounds); inputs are (3, 1), targets (3, 1)"),
        (fails_late, 0, "the trial function failed: ValueError('not any more') (trial 0 of iteration 2)"),
        (not_finite_at_times, TRAINING, "targets must be finite; targets[1, 0] is nan"),
        (not_finite_at_times, VALIDATION, "targets must be finite; targets[1, 0] is nan"),
    ],
)
def test_training_says_why_a_users_trials_end_networks(trial, purpose, message, tmp_path, capsys):
    task = Task("at_times", D=1, K=1, T=3, trial=trial, settings={"purpose": purpose})
    spec = PopulationSpec(task, cells="gru", activations="tanh", sizes=4, seeds=2, iterations=4, batch=4)
    run = train(spec, tmp_path / "run", "cpu", threads=1)
    said = capsys.readouterr().err
    assert said.count("is not finite because of its trials: task 'at_times'") == 1  # the others are alike
    assert message in said
    assert (run.table.status == ("trained" if purpose == VALIDATION else "diverged")).all()


def drawn_anew(stream, settings, inputs, targets, mask):
    inputs[:, 0] = np.random.random(inputs.shape[0])  # noqa: NPY002  what numba knows, and users write


def drawn_anew_batch(rng, settings, trials):
    return np.random.default_rng().random((trials, 9, 1)), np.zeros((trials, 9, 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trial": drawn_anew}, "the trial function makes other trials .* must come from its argument 'stream'"),
        ({"batch": drawn_anew_batch}, "the batch function makes other trials .* must come from its argument 'rng'"),
    ],
)
def test_random_numbers_from_elsewhere_are_refused(given, message, tmp_path):
    spec = PopulationSpec(Task("anew", D=1, K=1, T=9, **given), seeds=1, iterations=1)
    with pytest.raises(UsageError, match=message):
        train(spec, tmp_path / "run", "cpu")
    assert not (tmp_path / "run" / "population.toml").exists()


def test_the_time_of_a_users_function_counts():
    def slow(rng, settings, trials):
        time.sleep(0.02 * (trials == 5))
        return delay_batch(rng, settings, trials)

    task = array_task(batch=slow)
    assert task.drawing_seconds(5) >= 0.02 > get_task("cdi").drawing_seconds(5) == 0.0
    assert task.drawing_seconds(5) == task.drawing_seconds(5)  # measured once
    spec = PopulationSpec(task, cells="gru", activations="tanh", sizes=4, seeds=1, iterations=3, batch=5)
    rows = list(spec.rows)
    work = work_of("gru-tanh-4", rows, 3, spec, engines.get("cpu", threads=1))
    assert work.seconds >= 0.02


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_trial_whose_mask_counts_nothing_is_refused(weight):
    def trial(stream, settings, inputs, targets, mask):
        mask[:] = weight

    with pytest.raises(UsageError, match="'nothing': mask must be 0 or greater and somewhere greater than 0"):
        Task("nothing", D=1, K=1, T=3, trial=trial).draw([1], 1, 0, 2)


def test_a_batch_that_fails_is_named():
    def batch(rng, settings, trials):
        raise RuntimeError("no such file")

    with pytest.raises(UsageError, match=r"task 'broken': the batch function failed: RuntimeError\('no such file'\)"):
        Task("broken", D=1, K=1, T=3, batch=batch).draw([1], 1, 0, 2)


@pytest.mark.parametrize("mask", [np.zeros((1, 2, 3)), -np.ones((1, 2, 3))])
def test_a_mask_that_counts_nothing_is_refused(mask):
    networks = Networks.initialize("gru", "tanh", 4, 1, 1, [1])
    with pytest.raises(UsageError, match="mask must be 0 or greater, and somewhere greater than 0 for each network"):
        engines.get("cpu", threads=1).loss_and_gradients(networks, np.ones((1, 2, 3, 1)), np.ones((1, 2, 3, 1)), mask)

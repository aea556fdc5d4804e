"""All pairs in blocks: sizes, memory, disk, resumption and libraries change nothing in the distances."""

import threading

import numpy as np
import pytest
from responses import population

from fastrnn.analysis.similarity import (
    METRICS,
    ResponseWarning,
    checkpoint,
    distances,
    gram,
    pairs,
    pairwise_distances,
    reduction,
    store,
)
from fastrnn.analysis.similarity.gram import features_cost, gram_cost
from fastrnn.analysis.similarity.settings import Settings
from fastrnn.errors import RunError, UsageError
from fastrnn.progress import Interrupted, Interruption

SIZES = (5, 8, 8, 3, 12, 9, 8, 20, 6, 8)
SAME = 1e-12  # distances of one definition in another order


def wanted(states, metric):
    """Each pair by itself; for CKA from cross products."""
    N = len(states)
    return np.array([[pairwise_distances([states[i], states[j]], metric)[0, 1] for j in range(N)] for i in range(N)])


def assert_same(one, other, metric):
    np.testing.assert_allclose(one, other, atol=1e-7 if metric == "procrustes" else SAME, rtol=0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("columns", [1, 16, 1024])
def test_blocks_of_any_size(metric, columns, monkeypatch):
    monkeypatch.setattr(pairs, "COLUMNS", columns)
    states = population(SIZES)
    assert_same(pairwise_distances(states, metric, threads=2), wanted(states, metric), metric)


@pytest.mark.parametrize("metric", METRICS)
def test_responses_beyond_the_memory_go_to_disk(metric, monkeypatch, tmp_path):
    monkeypatch.setattr(pairs, "COLUMNS", 16)
    spilled = []
    monkeypatch.setattr(store.ReducedResponses, "__exit__", _noting(store.ReducedResponses.__exit__, spilled))
    states = population(SIZES)
    small = pairwise_distances(states, metric, memory=12_000, scratch=tmp_path)
    assert spilled[0] > 0
    assert list(tmp_path.iterdir()) == []
    assert_same(small, pairwise_distances(states, metric), metric)


def _noting(close, spilled):
    def __exit__(self, *error):
        spilled.append(self.spilled)
        close(self, *error)

    return __exit__


def test_a_scratch_folder_that_is_not_there(tmp_path):
    with pytest.raises(RunError, match=r"could not keep reduced responses in .*give a folder with space"):
        pairwise_distances(population(), memory=1000, scratch=tmp_path / "missing")


@pytest.mark.parametrize("metric", METRICS)
def test_lists_stacks_and_generators(metric):
    states = population(sizes=(6,) * 5)
    from_list = pairwise_distances(states, metric)
    assert_same(pairwise_distances(np.array(states), metric), from_list, metric)
    assert_same(pairwise_distances((state for state in states), metric), from_list, metric)
    assert_same(pairwise_distances([state.tolist() for state in states], metric), from_list, metric)


def test_threads_change_no_bit():
    states = population(SIZES)
    np.testing.assert_array_equal(pairwise_distances(states, threads=1), pairwise_distances(states, threads=3))


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("readable", [False, True])
@pytest.mark.parametrize("memory", [4e9, 20_000])
def test_cka_from_gram_matrices(debiased, readable, memory, monkeypatch):
    states = population(SIZES)
    states[3] = np.full_like(states[3], 2.5)
    with pytest.warns(ResponseWarning):
        from_products = pairwise_distances(states, "cka", debiased=debiased)
    monkeypatch.setattr(distances, "gram_is_cheaper", lambda sizes, samples: True)
    monkeypatch.setattr(distances, "gram_products", _noting_calls(distances.gram_products, calls := []))
    with pytest.warns(ResponseWarning):
        given = states if readable else iter(states)
        result = pairwise_distances(given, "cka", debiased=debiased, memory=memory, details=True)
    assert len(calls) == 1
    np.testing.assert_allclose(result.distances, from_products, atol=1e-10)
    assert result.marks[3] == reduction.ResponseMark.CONSTANT


@pytest.mark.parametrize(("readable", "share"), [(True, 1), (False, 1 / 2)])
def test_gram_matrices_leave_room_for_what_is_kept(readable, share, monkeypatch):
    """Of responses that can be read again nothing is; of others at most half of the memory."""
    states, memory = population(SIZES), 60_000
    monkeypatch.setattr(distances, "gram_is_cheaper", lambda sizes, samples: True)
    monkeypatch.setattr(distances, "gram_products", _noting_calls(distances.gram_products, calls := []))
    pairwise_distances(states if readable else iter(states), "cka", memory=memory, threads=2)
    ((N, _, dtype, tiles, threads, *_),) = calls
    taken = N * tiles[0][0].stop ** 2 * np.dtype(dtype).itemsize * threads
    assert 0.5 * share * memory < taken < 0.8 * share * memory


def _noting_calls(function, calls):
    def noted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return noted


def test_cka_takes_the_cheaper_way():
    assert gram_cost([200] * 100, 4096) < features_cost([200] * 100, 4096)
    assert features_cost([20] * 100, 4096) < gram_cost([20] * 100, 4096)
    rng = np.random.default_rng(0)
    wide = [rng.normal(size=(40, 30)) for _ in range(30)]
    low = [x[:, :2] @ x[:2, :] for x in wide]  # rank 2: cheap as products, whatever the number of units
    settings = Settings("cka", 1.0, "smaller", False, 1e-10, None)
    assert not distances._takes_gram(low, settings)
    assert not distances._takes_gram(iter(wide), settings)


@pytest.mark.parametrize("metric", ["cka", "procrustes"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_what_a_tolerance_drops_is_bounded(metric, tolerance):
    rng = np.random.default_rng(0)
    spectrum = np.geomspace(1, 1e-5, 40)
    states = [rng.normal(size=(80, 40)) * spectrum @ rng.normal(size=(40, 40)) for _ in range(5)]
    exact = pairwise_distances(states, metric, tolerance=0, details=True)
    rough = pairwise_distances(states, metric, tolerance=tolerance, details=True)
    assert rough.components.max() < exact.components.min()
    similarity = np.cos if metric == "procrustes" else lambda distance: 1 - distance
    error = np.abs(similarity(rough.distances) - similarity(exact.distances)).max()
    assert 0 < error <= 2 * tolerance


@pytest.mark.parametrize(
    ("metric", "options"),
    [("svcca", {}), ("pwcca", {}), ("cka", {}), ("cka", {"debiased": True}), ("procrustes", {})],
)
@pytest.mark.parametrize("memory", [4e9, 12_000])
def test_single_precision_changes_little(metric, options, memory, monkeypatch):
    spilled = []
    monkeypatch.setattr(store.ReducedResponses, "__exit__", _noting(store.ReducedResponses.__exit__, spilled))
    states = population(SIZES, samples=200)
    double, single = (
        pairwise_distances(states, metric, precision=precision, memory=memory, **options)
        for precision in ("double", "single")
    )
    assert single.dtype == np.float64
    similarity = np.cos if metric == "procrustes" else lambda distance: 1 - distance
    change = np.abs(similarity(single) - similarity(double)).max()
    assert 0 < change < (1e-5 if metric == "pwcca" else 1e-6)
    assert spilled[1] < spilled[0] if memory < 1e9 else spilled == [0, 0]


@pytest.mark.parametrize("readable", [False, True])
def test_single_precision_of_gram_matrices_sums_in_double(readable, monkeypatch):
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(300, 30)) @ rng.normal(size=(30, 30)) for _ in range(8)]
    double = pairwise_distances(states, "cka")
    monkeypatch.setattr(distances, "gram_is_cheaper", lambda sizes, samples: True)
    dtypes = []
    monkeypatch.setattr(distances, "gram_products", _noting_calls(distances.gram_products, dtypes))
    errors = {}
    for depth in (64, 10**6):
        monkeypatch.setattr(gram, "DEPTH", depth)
        single = pairwise_distances(states if readable else iter(states), "cka", precision="single")
        errors[depth] = np.abs(single - double).max()
    assert all(call[2] == np.float32 for call in dtypes) and len(dtypes) == 2
    assert 0 < errors[64] < errors[10**6] < 1e-6


@pytest.mark.parametrize("by_gram", [False, True])
def test_interrupted_work_goes_on(by_gram, monkeypatch, tmp_path):
    monkeypatch.setattr(pairs, "COLUMNS", 16)
    monkeypatch.setattr(distances, "gram_is_cheaper", lambda sizes, samples: by_gram)
    states, metric = population(SIZES), "cka" if by_gram else "svcca"
    options = {"metric": metric, "checkpoint": tmp_path / "pairs", "memory": 20_000}
    whole = pairwise_distances(states, metric, memory=20_000)
    assert not (tmp_path / "pairs").exists()
    _interrupt_after(monkeypatch, steps=len(states) + 3)
    with pytest.raises(Interrupted, match="the same call goes on from"):
        pairwise_distances(states, **options)
    monkeypatch.undo()
    monkeypatch.setattr(pairs, "COLUMNS", 16)
    monkeypatch.setattr(distances, "gram_is_cheaper", lambda sizes, samples: by_gram)
    for change in (
        {"tolerance": 1e-3},
        {"precision": "single"},
        {"states": states[1:]},
        {"states": [2 * x for x in states]},
    ):
        with pytest.raises(UsageError, match="holds pairs of other responses or settings"):
            pairwise_distances(**({"states": states} | options | change))
    steps = _interrupt_after(monkeypatch, steps=10_000)
    np.testing.assert_array_equal(pairwise_distances(states, **options), whole)
    again = len(steps)
    steps.clear()
    pairwise_distances(states, metric, memory=20_000)
    assert again < len(steps)  # what was done is not done again
    assert not (tmp_path / "pairs").exists()


def _interrupt_after(monkeypatch, steps: int) -> list:
    taken = []

    def moved(self, *arguments, **arrays):
        taken.append(1)
        self.interruption.requested = len(taken) >= steps
        return original(self, *arguments, **arrays)

    original = distances._Work._moved
    monkeypatch.setattr(distances._Work, "_moved", moved)
    return taken


def test_interrupted_without_a_checkpoint(monkeypatch):
    _interrupt_after(monkeypatch, steps=3)
    with pytest.raises(Interrupted, match="give checkpoint= a file"):
        pairwise_distances(population(SIZES))


def test_a_checkpoint_is_saved_now_and_then(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoint.Checkpoint, "remove", lambda self: None)
    states = population(SIZES)
    first = pairwise_distances(states, checkpoint=tmp_path / "pairs")
    assert (tmp_path / "pairs").exists()
    np.testing.assert_array_equal(pairwise_distances(states, checkpoint=tmp_path / "pairs"), first)


def test_ctrl_c_is_given_back():
    import signal

    before = signal.getsignal(signal.SIGINT)
    pairwise_distances(population())
    assert signal.getsignal(signal.SIGINT) is before
    assert Interruption().requested is False


def test_no_bar_where_there_is_no_terminal(capfd):
    pairwise_distances(population())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("metric", METRICS)
def test_arrays_of_the_array_api_standard(metric):
    strict = pytest.importorskip("array_api_strict")
    states = population(SIZES)
    given = [strict.asarray(state) for state in states]
    result = pairwise_distances(given, metric)
    assert isinstance(result, np.ndarray)
    np.testing.assert_allclose(result, pairwise_distances(states, metric), atol=1e-10)
    single = pairwise_distances(given, metric, precision="single")
    np.testing.assert_allclose(single, result, atol=1e-3 if metric == "procrustes" else 1e-5)
    assert np.any(single != result)


def test_arrays_of_other_libraries_are_worked_on_in_the_callers_thread(monkeypatch):
    """For device and stream of a GPU are those of the thread."""
    strict, threads = pytest.importorskip("array_api_strict"), set()

    def noted(work):
        def noting(*arguments):
            threads.add(threading.get_ident())
            return work(*arguments)

        return noting

    monkeypatch.setattr(distances, "reduce_response", noted(distances.reduce_response))
    monkeypatch.setattr(pairs, "_compare", noted(pairs._compare))
    pairwise_distances([strict.asarray(state) for state in population(SIZES)], threads=2)
    assert threads == {threading.get_ident()}
    pairwise_distances(population(SIZES), threads=2)
    assert len(threads) > 1


def test_complex_arrays_of_any_library_are_refused():
    strict = pytest.importorskip("array_api_strict")
    for library in (np, strict):
        given = [library.asarray(state + 1j) for state in population()[:2]]
        with pytest.raises(UsageError, match=r"responses\[0\] must be real numbers; its dtype is .*complex128"):
            pairwise_distances(given)


def test_libraries_are_not_mixed():
    strict = pytest.importorskip("array_api_strict")
    states = population()
    with pytest.raises(UsageError, match=r"responses\[1\] is an array of another library"):
        pairwise_distances([states[0], strict.asarray(states[1])])


class Device:
    """An array of a library that isn't NumPy's and converts to it by `get` only, as CuPy's; made of NumPy's."""

    def __init__(self, array):
        self.held = array

    def get(self):
        return self.held


def test_libraries_without_the_newest_names(monkeypatch):
    """What CuPy calls by older names, under those names."""
    from types import SimpleNamespace

    from fastrnn.analysis.similarity import namespace

    old = SimpleNamespace(
        transpose=np.transpose,
        concatenate=np.concatenate,
        swapaxes=np.swapaxes,
        linalg=SimpleNamespace(svd=np.linalg.svd),
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    np.testing.assert_array_equal(namespace.swap_middle(old, x), namespace.swap_middle(np, x))
    np.testing.assert_array_equal(namespace.transposed(old, x), namespace.transposed(np, x))
    np.testing.assert_array_equal(namespace.join(old, [x, x]), namespace.join(np, [x, x]))
    np.testing.assert_allclose(namespace.singular_values(old, x), namespace.singular_values(np, x), atol=1e-14)
    np.testing.assert_array_equal(namespace.to_numpy(Device(x)), x)
    monkeypatch.setitem(__import__("sys").modules, "cupy", old)
    monkeypatch.setattr(Device, "__module__", "cupy.core")
    assert namespace.namespace_of(Device(x)) is old

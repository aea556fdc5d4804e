"""Cycles: planted k-cycles and circles of known rotation, their exponents and multipliers."""

import dynamics_oracle as plain
import numpy as np
import pytest
from test_fixed_points import linear, vanilla
from test_transitions import ring

from fastrnn.analysis.cycles import CycleKind, Cycles, find_cycles
from fastrnn.analysis.maps import UpdateFunction, maps_of
from fastrnn.analysis.orbits import lyapunov_exponents, period_of, rotation_number
from fastrnn.errors import UsageError

STARTS = np.random.default_rng(0).normal(size=(6, 2))
SHORT = dict(transient=300, window=1000)
LOGISTIC = UpdateFunction(lambda h, x: x * h * (1 - h), lambda h, x: (x * (1 - 2 * h))[:, :, None], S=1, D=1)


def normal_form(angle, pull=0.2):
    """An attracting unit circle on which every step turns by `angle`; the radius' multiplier is 1 - 2 pull."""
    turn = plain.turn(angle)

    def step(h, x):
        r2 = (h**2).sum(axis=1, keepdims=True)
        return h * (1 + pull * (1 - r2)) @ turn.T

    def jacobian(h, x):
        r2 = (h**2).sum(axis=1)[:, None, None]
        return turn @ ((1 + pull * (1 - r2)) * np.eye(2) - 2 * pull * h[:, :, None] * h[:, None, :])

    return UpdateFunction(step, jacobian, S=2)


@pytest.mark.parametrize("turns", [0.0387, 1 / (5 + np.sqrt(2)), (np.sqrt(5) - 1) / 2 - 0.2])
def test_an_invariant_circle_of_known_rotation(turns):
    cycles = find_cycles(normal_form(2 * np.pi * turns), np.zeros(0), STARTS, exponents=2, **SHORT)
    assert cycles.kind.tolist() == [CycleKind.CIRCLE]
    assert cycles.period.tolist() == [0]
    assert cycles.hits.tolist() == [6]
    assert cycles.rotation_number[0] == pytest.approx(turns, abs=1e-7)
    assert cycles.amplitude[0] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(cycles.lyapunov[0], [0, np.log(0.6)], atol=2e-3)
    assert np.isnan(cycles.multipliers).all()


def uneven(turns, k, periods=1):
    """An attracting unit circle on which theta' = theta + turns + k / (2 pi periods) sin(2 pi periods theta), in turns.

    Invertible for k < 1, so never chaotic; its radius' multiplier is 1/2. k > 1 can be chaotic.
    """

    def places(h):
        angle = np.arctan2(h[:, 1], h[:, 0])
        after = angle + 2 * np.pi * turns + k / periods * np.sin(periods * angle)
        before, out = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (angle, after))
        return angle, np.hypot(*h.T), before, out

    def step(h, x):
        _, r, _, out = places(h)
        return ((1 + r) / 2)[:, None] * out

    def jacobian(h, x):
        angle, r, before, out = places(h)
        along = (1 + r) / 2 * (1 + k * np.cos(periods * angle)) / np.maximum(r, 1e-9)
        aside, ahead = (np.stack([-e[:, 1], e[:, 0]], axis=1) for e in (before, out))
        radial = 0.5 * out[:, :, None] * before[:, None, :]
        return radial + along[:, None, None] * ahead[:, :, None] * aside[:, None, :]

    return UpdateFunction(step, jacobian, S=2)


ROUND = 2 * np.pi * np.arange(0.5, 3) / 3
AROUND = np.stack([np.cos(ROUND), np.sin(ROUND)], axis=1)


@pytest.mark.parametrize("turns", [0.1605, 0.1575])
def test_a_circle_of_uneven_speed_is_not_chaotic(turns):
    for start in AROUND:  # the exponent's error hangs on where the window starts
        cycles = find_cycles(uneven(turns, 0.97), np.zeros(0), start[None], exponents=2)
        assert cycles.kind.tolist() == [CycleKind.CIRCLE]
        np.testing.assert_allclose(cycles.lyapunov[0], [0, np.log(0.5)], atol=1e-3)


@pytest.mark.parametrize(("turns", "k", "exponent"), [(0.35, 1.5, 0.26), (0.35, 2.0, 0.485)])
def test_a_circle_map_that_folds_can_be_chaotic(turns, k, exponent):
    for start in AROUND:
        cycles = find_cycles(uneven(turns, k), np.zeros(0), start[None], exponents=1)
        assert cycles.kind.tolist() == [CycleKind.CHAOTIC]
        assert cycles.lyapunov[0, 0] == pytest.approx(exponent, rel=0.2)


def test_a_long_cycle_is_no_circle():
    steady = uneven(1 / 80, 0.3, periods=80)
    cycles = find_cycles(steady, np.zeros(0), AROUND[:1])
    assert cycles.kind.tolist() == [CycleKind.PERIODIC]
    assert cycles.period.tolist() == [80]
    assert cycles.lyapunov[0, 0] == pytest.approx(np.log(0.7))
    short = find_cycles(steady, np.zeros(0), AROUND[:1], longest=79)
    assert short.kind.tolist() == [CycleKind.UNSETTLED]
    assert short.period.tolist() == [0]


def test_cycles_are_no_longer_than_half_a_short_window():
    made = find_cycles(LOGISTIC, [[3.2]], [[0.3]], transient=300, window=200)
    assert made.period.tolist() == [2]


def test_an_orbit_that_a_longer_window_leaves_is_unsettled():
    turn = plain.turn(0.3)  # out along a spiral, by 1.002 a step, faster and faster from a distance of 0.1 on

    def step(h, x):
        return h * (1.002 + (h**2).sum(axis=1, keepdims=True)) @ turn.T

    def jacobian(h, x):
        r2 = (h**2).sum(axis=1)[:, None, None]
        return turn @ ((1.002 + r2) * np.eye(2) + 2 * h[:, :, None] * h[:, None, :])

    cycles = find_cycles(UpdateFunction(step, jacobian, S=2), np.zeros(0), [[1e-9, 0]], spread=1e-6)
    assert cycles.kind.tolist() == [CycleKind.UNSETTLED]


def test_weak_chaos_is_chaos():
    cycles = find_cycles(LOGISTIC, [3.56996], [[0.3]])
    assert cycles.kind.tolist() == [CycleKind.CHAOTIC]
    assert cycles.lyapunov[0, 0] == pytest.approx(0.0057, rel=0.2)


@pytest.mark.parametrize(("k", "turns"), [(3, 1), (5, 2), (8, 3)])
def test_a_rational_rotation_is_a_cycle_of_its_denominator(k, turns):
    cycles = find_cycles(normal_form(2 * np.pi * turns / k), np.zeros(0), STARTS[:1], **SHORT)
    assert cycles.period.tolist() == [k]
    assert cycles.kind.tolist() == [CycleKind.PERIODIC]
    assert cycles.rotation_number[0] == pytest.approx(turns / k, abs=1e-9)
    np.testing.assert_allclose(np.abs(cycles.multipliers[0]), [1, 0.6**k], atol=1e-9)


def test_an_exact_cycle_of_a_network():
    angle = 2 * np.pi / 4
    cycles = find_cycles(vanilla([1.5 * plain.turn(angle)]), [0.0], [[0.5, 0.1], [0.2, -0.4]], **SHORT)
    assert (cycles.period == 4).all()
    W = 1.5 * plain.turn(angle)
    for state, multipliers in zip(cycles.state, cycles.multipliers, strict=True):
        h, whole = state, np.eye(2)
        for _ in range(4):
            h = np.tanh(h @ W)
            whole = np.diag(1 - h**2) @ W.T @ whole
        np.testing.assert_allclose(h, state, atol=1e-14)
        np.testing.assert_allclose(np.sort(np.abs(multipliers)), np.sort(np.abs(np.linalg.eigvals(whole))), atol=1e-9)


def test_logistic_map():
    cycles = find_cycles(LOGISTIC, [[2.8], [3.2], [3.5], [4.0], [5.0]], [[0.3], [0.41]])
    assert cycles.settled[0].tolist() == [2, 0, 0, 0, 0]
    assert cycles.escaped[0].tolist() == [0, 0, 0, 0, 2]
    by_input = {c: cycles.kind[cycles.condition == c].tolist() for c in range(5)}
    assert by_input[0] == by_input[4] == []
    assert cycles.period[cycles.condition == 1].tolist() == [2]
    assert cycles.period[cycles.condition == 2].tolist() == [4]
    assert set(by_input[3]) == {CycleKind.CHAOTIC}
    assert cycles.multipliers[0, 0].real == pytest.approx(4 + 2 * 3.2 - 3.2**2)
    np.testing.assert_allclose(cycles.lyapunov[cycles.condition == 3], np.log(2), atol=0.05)


def test_what_is_still_on_its_way_says_so():
    slow = normal_form(0.3, pull=1e-4)
    cycles = find_cycles(slow, np.zeros(0), [[0.1, 0.0]], spread=1.0, transient=10, window=2000)
    assert cycles.kind.tolist() == [CycleKind.UNSETTLED]


def test_networks_without_cycles_and_networks_without_starts():
    W = np.stack([plain.rolled(2), 1.4 * plain.turn(0.5)])
    cycles = find_cycles(vanilla(W), [[0.0], [0.1]], count=8, **SHORT)
    assert set(cycles.network) == {1}
    assert cycles.settled[0].tolist() == [8, 8]
    again = find_cycles(vanilla(W), [[0.0], [0.1]], count=8, threads=1, **SHORT)
    np.testing.assert_array_equal(cycles.state, again.state)
    other = find_cycles(vanilla(W), [[0.0], [0.1]], count=8, seed=1, **SHORT)
    assert not np.array_equal(cycles.state, other.state)
    none = find_cycles(vanilla(W[:1]), [0.0], count=4, **SHORT)
    assert len(none) == 0
    assert none.table.empty


def test_every_setting_changes_something():
    map, start = normal_form(2 * np.pi / 7), STARTS[:1]
    assert find_cycles(map, np.zeros(0), start, longest=6, **SHORT).period.tolist() == [0]
    assert find_cycles(map, np.zeros(0), start, exponents=1, **SHORT).lyapunov.shape == (1, 1)
    assert find_cycles(map, np.zeros(0), start, tolerance=10.0, **SHORT).settled.tolist() == [[1]]
    networks = vanilla([1.4 * plain.turn(0.5)])
    assert find_cycles(networks, [0.0], count=3, **SHORT).hits.sum() == 3
    assert find_cycles(normal_form(0.3), np.zeros(0), start, spread=1e9, **SHORT).settled.tolist() == [[1]]


def test_save_and_load(tmp_path):
    cycles = find_cycles(ring(), np.zeros(0), STARTS, **SHORT)
    cycles.save(tmp_path / "cycles.safetensors")
    again = Cycles.load(tmp_path / "cycles.safetensors")
    for name, array in vars(cycles).items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert again.table.kind.tolist() == ["circle"]
    assert (tmp_path / "cycles.csv").read_text().startswith("network,condition,kind,period")


def test_pieces():
    orbit = np.array([0.0, 1, 2] * 6)[:, None]
    assert period_of(orbit, 5, 1e-9) == 3
    assert period_of(orbit, 2, 1e-9) == 0
    assert rotation_number(np.array([1.0, -1.0] * 5)[:, None]) == 0.5
    A = plain.similar(np.diag([0.9, 0.5]), 2, seed=0)
    exponents = lyapunov_exponents(maps_of(linear(A))(0, np.zeros(0)), np.zeros((500, 2)), 2)
    np.testing.assert_allclose(exponents, np.log([0.9, 0.5]), atol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(count=0), "count must be a positive whole number"),
        (dict(longest=600), "longest must be at most half the window, 500; it is 600"),
        (dict(tolerance=0.0), "tolerance must be a positive number"),
        (dict(spread=-1.0), "spread must be a positive number; it is -1.0"),
        (dict(starts=None), "an UpdateFunction needs starts"),
    ],
)
def test_mistakes_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        find_cycles(**({"networks": ring(), "inputs": np.zeros(0), "starts": STARTS} | SHORT | change))

"""Every fixed point of every network of a stack: `find_fixed_points`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import engines
from ..cells import get_cell
from ..errors import UsageError
from ..networks import Networks
from ..shapes import check_finite, check_shape
from ..tasks import get_task
from ..values import check_name, check_positive, check_sizes, is_number, whole_number
from .completeness import PointStatus, unseen_mass
from .eigen import count_unstable, eigenvalues_of
from .maps import check_inputs, check_source, maps_of
from .points import FixedPoints
from .search import METHODS, NOWHERE, ON_DEVICE, Search, Settings, run_together
from .starts import NOISE, STEPS, TRIALS, random_states, spread_of, trajectory_inputs, trajectory_states
from .threads import chunks, rows_for_threads, team

OUTLIER = 5.0  # spreads from the mean of the visited states
SAMPLED_BYTES = 1 << 30  # of visited states, of networks that a GPU searches side by side


def find_fixed_points(
    networks,
    inputs,
    starts=None,
    *,
    task=None,
    method: str = "auto",
    tolerance: float = 1e-26,
    speed: float = 1e-4,
    unique: float = 1e-3,
    noise: float = NOISE,
    batch: int = 64,
    budget: int = 4096,
    trials: int = TRIALS,
    spread: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
) -> FixedPoints:
    """Fixed points h = F(h, x) of every network under every held input x, with a verdict on completeness.

    Newton's method and Levenberg-Marquardt in float64 with analytic Jacobians, in rounds of starts. A search ends when
    its index sum is 1 (where that means something), every exact point was reached by two independent starts or more,
    and the second half of the starts found nothing new; or when its budget is spent. Each
    network's result depends on its weights, key and the settings alone, not on its neighbours or on threads.

    Parameters
    ----------
    networks : Networks (N of them), or an `UpdateFunction`
    inputs : (D,) or (C, D), held inputs
    starts : (M, S) common to all networks, or (N, M, S); all are used, and no others are drawn. Default: drawn from
        states on trajectories, points between two such states, and means of points already found
    task : a `Task` or its name; trajectories are those of its probe trials. Without one they start at random states
        and get random pulses on top of the held inputs
    method : "newton"; "levenberg_marquardt", which also finds minima of the speed; "auto", the second where the first
        fails. Two stop as soon as a state is slow, and do not run along a line attractor: "slow_points", damped
        Levenberg-Marquardt, the quick one; "gradient_descent", which needs thousands of steps in gated networks
    tolerance : a state is fixed where q = |F(h) - h|^2 / 2 is at most `tolerance` (1 + |h|^2)
    speed : a state that is not fixed is a slow point where |F(h) - h| is at most `speed` spreads
    unique : points nearer than so many spreads are one
    noise : standard deviation of the noise on starts, in spreads of the whole state
    batch, budget : independent starts in a round, and at most, for each network and input
    trials : trajectories from which the states are taken
    spread : root mean square distance of the visited states to their mean; default measured
    seed : of all random choices
    threads : default all processors
    device : "cuda" or "auto": Levenberg-Marquardt, also in place of "auto"'s Newton, runs on the GPU, the starts of all
        networks and inputs at once, those that are done leaving; the rest stays on the CPU. Other points may be found
        first, of networks with very many

    Returns
    -------
    FixedPoints
        plain arrays; `.table`, `.summary` for pandas; `.save(path)`

    Raises
    ------
    UsageError
        for wrong shapes, values that are not finite, unknown methods, and methods that device "cuda" does not have

    References
    ----------
    Sussillo and Barak, "Opening the black box" (Neural Computation 2013); `completeness` has those of the verdict.

    Examples
    --------
    >>> W = np.float32([[1, -1], [-1, 1]])
    >>> arrays = {"W_rec": W[None], "W_in": np.zeros((1, 1, 2)), "b": np.zeros((1, 2))}
    >>> arrays |= {"W_out": np.eye(2)[None], "b_out": np.zeros((1, 2)), "h0": np.zeros((1, 2))}
    >>> points = find_fixed_points(Networks.from_arrays(cell="vanilla", activation="tanh", arrays=arrays), [0.0])
    >>> len(points), points.index_sum, sorted(points.n_unstable.tolist())
    (3, array([[1]]), [0, 0, 1])
    """
    check_source(networks)
    inputs = check_inputs(networks, inputs)
    starts = check_starts(networks, starts)
    task = check_task(networks, task)
    _check_settings(method, seed, batch=batch, budget=budget, trials=trials)
    check_positive(tolerance=tolerance, speed=speed, unique=unique, spread=1.0 if spread is None else spread)
    if not (is_number(noise) and 0 <= noise < np.inf):
        raise UsageError(f"noise must be 0 or more; it is {noise!r}")
    engine = _gpu(networks, device, method)
    settings = Settings(method, tolerance, speed, unique, noise, int(batch), int(budget))
    with team(threads) as workers:
        together = len(networks) * len(inputs) < workers.threads
        # one network a thread, or all threads on one network after another
        outer, inner = (workers.alone(), workers) if together else (workers, workers.alone())

        def begin(i):
            return _begin(networks, i, inputs, starts, task, trials, spread, seed, settings, inner)

        if engine is None:
            searched = outer.each(lambda i: _end(begin(i)), range(len(networks)))
        else:
            searched, sampled = [], 8 * networks.S * trials * (task.T if task else STEPS)
            for piece in chunks(len(networks), max(1, SAMPLED_BYTES // sampled)):
                begun = outer.each(begin, range(len(networks))[piece])
                problems = [(b.network, x, s) for b in begun for x, s in zip(inputs, b.searches, strict=True)]
                run_together(engine, networks, problems, outer)
                searched += outer.each(_end, begun)
    return _gather(networks, inputs, searched)


def sample_states(networks: Networks, i: int, inputs, task, trials: int, seed: int) -> np.ndarray:
    """States (M, S) that network i visits: on the task's probe trials, or under random pulses from random states."""
    rng = np.random.default_rng([seed, int(networks.keys[i])])
    held = trajectory_inputs(networks, inputs, task, trials, rng)
    parameters = networks.in_float64(i)
    if task is None:
        h = random_states(networks, len(held), rng)
    else:
        h = np.broadcast_to(parameters["h0"], (len(held), networks.S))
    cell = get_cell(networks.cell)
    kind = (parameters, networks.activation, networks.gate_bias)
    visited = trajectory_states(lambda h, x: cell.step(*kind, h, x), h, held)
    return visited if len(visited) > 1 else np.stack([np.zeros(networks.S), np.ones(networks.S)])


def _gpu(networks, device: str, method: str):
    """The CUDA engine that is to do the searches; None for the CPU."""
    if device == "cpu":
        return None
    if not isinstance(networks, Networks):
        raise UsageError("an UpdateFunction is searched where its functions run; leave device out")
    if method not in ON_DEVICE:
        if device == "auto":
            return None
        raise UsageError(f"method {method!r} runs on device 'cpu' only; a GPU has {', '.join(ON_DEVICE)}")
    engine = engines.get(device)
    return engine if engine.name == "cuda" else None


class _Begun(NamedTuple):
    """Searches of one network, under one input after the other; mean (S,) and spread of the states it visits."""

    network: int
    searches: list[Search]
    mean: np.ndarray
    spread: float


def _begin(networks, i, inputs, starts, task, trials, spread, seed, settings, workers) -> _Begun:
    """The searches of network i, which wait for their first ends."""
    mine = None if starts is None else starts[i if len(starts) > 1 else 0]
    if isinstance(networks, Networks):
        states, key = sample_states(networks, i, inputs, task, trials, seed), int(networks.keys[i])
    else:
        states, key = mine, 0
    spread = spread or spread_of(states) or float(np.linalg.norm(states[0])) or 1.0
    make, searches = maps_of(networks), []
    for c, x in enumerate(inputs):
        rng = np.random.default_rng([seed, key, c])
        searches.append(Search(make(i, x), spread, settings, workers).begin(states, mine, rng))
    return _Begun(i, searches, states.mean(axis=0), spread)


def _end(begun: _Begun):
    """Searches run to their ends if they aren't there, eigenvalues at their points, the states' mean and spread."""
    eigenvalues = []
    for search in begun.searches:
        search.run()
        pieces = chunks(len(search.points), rows_for_threads(search.map.S))
        made = search.team.each(lambda piece, s=search: eigenvalues_of(s.map.jacobian(s.points[piece])), pieces)
        eigenvalues.append(np.concatenate([np.empty((0, search.map.S), complex), *made]))
    return begun.searches, eigenvalues, begun.mean, begun.spread


def _distances(states, mean) -> np.ndarray:
    """Distance of states (F, S) from a mean; infinite for those of relu networks that lie too far to square."""
    with np.errstate(over="ignore"):
        return np.linalg.norm(states - mean, axis=1)


def _gather(networks, inputs, searched) -> FixedPoints:
    """All searches' arrays end to end, points ordered by network, input, unstable dimensions, then discovery."""
    points, candidates, unconverged, first = [], [], [], 0
    sizes = (len(networks), len(inputs))
    per_search = {name: np.zeros(sizes, np.int64) for name in ("index_sum", "seen_once", "starts")}
    per_search |= {"search_status": np.zeros(sizes, np.int8), "unseen_mass": np.zeros(sizes)}
    for i, (searches, eigenvalues, mean, spread) in enumerate(searched):
        for c, (s, values) in enumerate(zip(searches, eigenvalues, strict=True)):
            unstable = count_unstable(values)
            order = np.argsort(unstable, kind="stable")
            rank = np.empty(len(order) + 1, np.int64)
            rank[order], rank[-1] = first + np.arange(len(order)), NOWHERE
            first += len(order)
            columns = {
                "network": np.full(len(order), i),
                "condition": np.full(len(order), c),
                "xstar": s.points,
                "readout": np.asarray(s.map.readout(s.points), np.float64),
                "qstar": s.q,
                "status": s.status,
                "eigenvalues": values,
                "n_unstable": unstable,
                "index_sign": s.signs,
                "conditioning": s.conditioning,
                "outlier": _distances(s.points, mean) > OUTLIER * spread,
                "hits": s.hits,
            }
            points.append({name: array[order] for name, array in columns.items()})
            point, origin, iterations, q = (np.concatenate(parts) for parts in zip(*s.candidates, strict=True))
            whose = (np.full(len(point), i), np.full(len(point), c))
            candidates.append((*whose, origin, iterations, q, rank[point]))
            unconverged += s.unconverged
            exact = s.status == PointStatus.EXACT
            per_search["index_sum"][i, c] = s.signs.sum()
            per_search["seen_once"][i, c] = (s.hits[exact] == 1).sum()
            per_search["unseen_mass"][i, c] = unseen_mass(s.hits[exact])
            per_search["starts"][i, c] = s.spent
            per_search["search_status"][i, c] = s.verdict
    names = ("network", "condition", "origin", "iterations", "q", "point")
    columns = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    return FixedPoints(
        inputs=inputs,
        **{name: np.concatenate([part[name] for part in points]) for name in points[0]},
        **per_search,
        **{f"candidate_{name}": column for name, column in zip(names, columns, strict=True)},
        spread=np.array([spread for *_, spread in searched]),
        unconverged=np.concatenate(unconverged),
    )


def check_starts(networks, starts) -> np.ndarray | None:
    """Starts as (N or 1, M, S)."""
    if starts is None:
        if not isinstance(networks, Networks):
            raise UsageError("an UpdateFunction needs starts (M, S): where it goes on its own is not known")
        return None
    starts = np.asarray(starts, np.float64)
    if starts.ndim == 2:
        starts = starts[None]
    else:
        check_shape("starts", starts, ("N", "M", "S"), N=len(networks))
    check_finite("starts", check_shape("starts", starts, ("N", "M", "S"), S=networks.S))
    if not starts.shape[1]:
        raise UsageError("starts must hold at least one state")
    return starts


def check_task(networks, task):
    """The `Task` whose probe trials the networks are run on, if any."""
    if task is None:
        return None
    task = get_task(task)
    if task.D != networks.D:
        raise UsageError(f"task {task.name!r} has {task.D} inputs; the networks have {networks.D}")
    return task


def _check_settings(method, seed, **whole) -> None:
    check_name("method", method, METHODS)
    check_sizes(**whole)
    whole_number("seed", seed, 0)

"""Speed of training for every kind of network, as shares of the matrix peak and of the limit, and beside the peers."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from math import isfinite

from fastrnn.plan import duration
from fastrnn.spec import PopulationSpec
from fastrnn.tasks import get_task

from . import limit, ours
from .machine import memory_gb
from .peers import Peer, Trainer
from .peers.peer import TOLERANCE, largest_errors
from .rounds import (
    SPINNING,
    Contender,
    interleave,
    iterations_for,
    ratios,
    seconds_of,
    significant,
    spread,
    spread_over,
    turn,
)
from .section import Bench, Section, Step, reason
from .work import Work

OURS, BF16X3, PEAK, LIMIT = "ours", "bf16x3", "peak", "limit"
PEER_BYTES, PEER_SHARE = 6e9, 0.25  # of the values that a batched peer keeps for its way back; share of the memory
PEER_FLOPS = 5e10  # a second, to guess how long peers will take
LONGEST_TURN = 3.0  # seconds; no larger stack of networks is tried beyond
TRIES, TRY_SECONDS = 3, 0.1  # of each number of networks, of which the best counts; length of one, about
MANY = 16  # networks at once, as one trains populations
PEERS_ABREAST, WIDTH = 4, 80  # columns of ratios in so many letters


# ------------------------------------------------------------------------------------------------------ measurements


def steps(bench: Bench) -> list[Step]:
    """One step a kind."""
    s = bench.settings
    made = []
    for task in map(get_task, s.tasks):
        for cell in s.cells:
            for activation in s.activations:
                for n in s.sizes:
                    work = Work(task, cell, activation, n, s.batch)
                    peers = [p for p in bench.peers if p.supports(cell, activation)]
                    peers = peers if s.times_peers(task.name, cell, activation, n) else []
                    made.append(Step(work.label, _guess(bench, work, len(peers)), _measure(bench, work, peers)))
    return made


def _guess(bench: Bench, work: Work, peers: int) -> float:
    """Seconds a kind takes, roughly."""
    s = bench.settings
    mine = (s.rounds + 4) * max(s.turn_seconds, work.flops * bench.engine.threads / 2e11)
    mine *= 2 if bench.bf16x3 else 1
    mine += s.products * (0.06 + limit.SECONDS) + min(s.products, s.rounds) * SPINNING
    tried = len(s.peer_networks) - 1  # stacks beside the one that is timed; JAX compiles each anew
    theirs = 1 + (1 + TRIES * TRY_SECONDS) * tried
    theirs += (s.rounds + 2 + tried) * (max(s.turn_seconds, 4 * work.flops / PEER_FLOPS))
    return mine + peers * theirs


def _measure(bench: Bench, work: Work, peers: list[Peer]):
    return lambda: measure_kind(bench, work, peers)


def measure_kind(bench: Bench, work: Work, peers: list[Peer]) -> dict:
    """Our rate, in bf16x3 too where that can be, peak and limit, and every peer that computes the same, in turns."""
    s = bench.settings
    mine, N, iterations = ours.contender(bench.engine, work, s.turn_seconds)
    contenders = {OURS: mine}
    for name, measured in ((PEAK, bench.product), (LIMIT, bench.limit)):
        contenders[name] = spread_over(s.rounds, measured.rate, s.products)
    if bench.bf16x3:
        contenders[BF16X3], _, _ = ours.contender(bench.bf16x3, work, s.turn_seconds)
    entries, trainers = [], []
    try:
        for peer in peers:
            entry, trainer = _prepare(bench, work, peer)
            entries.append(entry)
            if trainer is not None:
                trainers.append(trainer)
                count = entry["iterations"]
                contenders[peer.name] = guarded(turn(trainer, count, trainer.networks * work.flops), entry)
        rates = interleave(contenders, s.rounds)
    finally:
        for trainer in trainers:
            trainer.close()
        gc.collect()
    speed, peak, most = (gflops(rates[name]) for name in (OURS, PEAK, LIMIT))
    for entry in entries:
        if "failed" not in entry:
            entry["gflops"] = gflops(rates[entry["peer"]])
            entry["ratio"] = ratios(rates[OURS], rates[entry["peer"]])
    beside = {}
    if bench.bf16x3:
        beside = {BF16X3: {"gflops": gflops(rates[BF16X3]), "ratio": ratios(rates[BF16X3], rates[OURS])}}
    return {
        "task": work.task.name,
        "cell": work.cell,
        "activation": work.activation,
        "n": work.n,
        "T": work.task.T,
        "batch": work.batch,
        "flops": work.flops,
        "networks": N,
        "iterations": iterations,
        "gflops": speed,
        "peak": peak,
        "share": significant(speed["median"] / peak["high"], 4),
        "limit": most,
        "share_of_limit": significant(speed["median"] / most["high"], 4),
        "network_iterations_per_second": significant(1e9 * speed["median"] / work.flops),
        "peers": entries,
    } | beside


def gflops(rates: list[float]) -> dict:
    """FLOP/s as a `spread` in GFLOP/s."""
    return spread(rate / 1e9 for rate in rates)


def _prepare(bench: Bench, work: Work, peer: Peer) -> tuple[dict, Trainer | None]:
    """A peer, checked and ready; without a trainer where it can't be timed, and the entry says why."""
    entry = {"peer": peer.name, "label": peer.label, "title": peer.title, "same_cell": peer.same_cell(work.cell)}
    trainer = None
    try:
        peer.use(bench.engine.threads)
        if entry["same_cell"]:
            errors = largest_errors(peer, bench.engine, work)
            entry["error"] = {name: significant(e, 2) if isfinite(e) else None for name, e in errors.items()}
            if not all(error < TOLERANCE for error in errors.values()):
                return entry | {"failed": "its loss or gradients differ from ours"}, None
        trainer, entry["by_networks"] = _best_trainer(bench, work, peer)
        entry["iterations"] = iterations_for(trainer, bench.settings.turn_seconds)
    except Exception as error:  # another library's: the benchmark goes on without it, and says so
        if trainer is not None:
            trainer.close()
        return entry | {"failed": reason(error)}, None
    return entry | {"networks": trainer.networks}, trainer


def guarded(contender: Contender, entry: dict) -> Contender:
    """A peer's turns; from one that fails on there are none, and the entry says why."""

    def take(r: int) -> list[float]:
        if "failed" not in entry:
            try:
                return contender(r)
            except Exception as error:  # another library's
                entry["failed"] = reason(error)
        return []

    return take


def _best_trainer(bench: Bench, work: Work, peer: Peer) -> tuple[Trainer, list[dict]]:
    """The trainer with the number of networks at which the peer is fastest; the numbers tried, with GFLOP/s."""
    candidates, tried = sorted(bench.settings.peer_networks), []
    if not peer.batched or len(candidates) == 1:
        return peer.trainer(work, candidates[0]), []
    best, fastest, most = None, float("inf"), min(PEER_BYTES, PEER_SHARE * 1e9 * (memory_gb() or 8))
    for N in candidates:
        if best is not None and not (_bytes(work, N) < most and N * fastest < LONGEST_TURN):
            break
        try:
            trainer = peer.trainer(work, N)
            seconds = _seconds(trainer) / N
        except Exception:  # too many for it
            if best is None:
                raise
            break
        tried.append({"networks": N, "gflops": significant(work.flops / seconds / 1e9)})
        if seconds < fastest:
            best, loser, fastest = trainer, best, seconds
        else:
            loser = trainer
        if loser is not None:
            loser.close()
    return best, tried


def _seconds(trainer: Trainer) -> float:
    """Time of an iteration, in the fastest of some tries."""
    trainer(1)
    count = max(1, int(TRY_SECONDS / max(seconds_of(trainer, 1), 1e-7)))
    return min(seconds_of(trainer, count) for _ in range(TRIES)) / count


def _bytes(work: Work, N: int) -> float:
    """What N networks of a batched peer keep for the way back, about."""
    gates = work.flops / (6 * work.task.T * work.batch * work.n**2)
    return 16 * N * work.task.T * work.batch * work.n * gates


# ----------------------------------------------------------------------------------------------------------- results


def gather(bench: Bench, kinds: list[dict]) -> dict:
    """Kinds, the peak and the limit over all of them, and what the paper's population would take."""
    overall = {name: spread(value for kind in kinds for value in kind[name]["rounds"]) for name in (PEAK, LIMIT)}
    for found in overall.values():
        del found["rounds"]
    times = {task: population_seconds(task, kinds) for task in bench.settings.tasks}
    return overall | {"kinds": kinds, "population": {task: time for task, time in times.items() if time}}


def population_seconds(task: str, kinds: list[dict]) -> dict | None:
    """Estimated time of the paper's population; None where one of its kinds was not measured with its batch.

    With `seconds_bf16x3` where all were measured in bf16x3 too.
    """
    spec = PopulationSpec.preset("paper", task)
    counts = Counter((row["cell"], row["activation"], row["n"]) for row in spec.rows)
    measured = {
        (kind["cell"], kind["activation"], kind["n"]): kind
        for kind in kinds
        if kind["task"] == task and kind["batch"] == spec.batch
    }
    if not counts.keys() <= measured.keys():
        return None
    seconds = {
        kind: count * spec.iterations / measured[kind]["network_iterations_per_second"]
        for kind, count in counts.items()
    }
    found = {"networks": len(spec), "iterations": spec.iterations, "seconds": significant(sum(seconds.values()))}
    if all(BF16X3 in measured[kind] for kind in counts):
        rounded = sum(time / measured[kind][BF16X3]["ratio"]["median"] for kind, time in seconds.items())
        found["seconds_bf16x3"] = significant(rounded)
    return found


# ------------------------------------------------------------------------------------------------------------- words


def lines(result: dict) -> list[str]:
    """Tables of speeds by task, then of ratios to the peers."""
    text = [f"Matrix peak (NumPy, 2048 x 2048 float32): {_rate_words(result[PEAK])}"]
    if LIMIT in result:
        text.append(f"Limit (multiply-adds in registers, float32): {_rate_words(result[LIMIT])}")
    text.append("Shares are of the best of these turns for the same kind of network.")
    tasks = list(dict.fromkeys(kind["task"] for kind in result["kinds"]))
    for task in tasks:
        text += ["", *_speed_table(task, [kind for kind in result["kinds"] if kind["task"] == task])]
        if task in result["population"]:
            time = result["population"][task]
            text.append(
                f"The paper's {time['networks']:,} networks, {time['iterations']:,} iterations each: about "
                f"{duration(time['seconds'])}"
            )
            if "seconds_bf16x3" in time:
                text[-1] += f"; in bf16x3 {duration(time['seconds_bf16x3'])}"
    for task in tasks:
        kinds = [kind for kind in result["kinds"] if kind["task"] == task and BF16X3 in kind]
        if kinds:
            text += ["", *_bf16x3_table(task, kinds)]
    for task in tasks:
        kinds = [kind for kind in result["kinds"] if kind["task"] == task and kind["peers"]]
        if kinds:
            text += ["", *_peer_table(f"{task}: how many times as fast as others (range of the rounds)", kinds)]
            text += beside_many(kinds)
        if rounded := in_bf16x3(kinds):
            text += ["", *_peer_table(f"{task} in bf16x3: how many times as fast as others", rounded)]
    return text + _notes(result["kinds"])


def _speed_table(task: str, kinds: list[dict]) -> list[str]:
    first = kinds[0]
    shares = "of peak/limit" if "share_of_limit" in first else "share of peak"
    head = f"{task}, T = {first['T']}, B = {first['batch']}: GFLOP/s (range), {shares}, network-iterations/s"

    def words(kind):
        share = "/".join(f"{kind[name]:.2f}" for name in ("share", "share_of_limit") if name in kind)
        return f"{_range(kind['gflops']):<14} {share} {_count(kind['network_iterations_per_second']):>7}"

    return [head, *_by_activation(kinds, words)]


def _bf16x3_table(task: str, kinds: list[dict]) -> list[str]:
    """Speeds in bf16x3, and how many times as fast as in float32."""
    head = f"{task} in bf16x3: GFLOP/s (range), times float32 (range)"
    return [head, *_by_activation(kinds, lambda kind: f"{_range(kind[BF16X3]['gflops']):<15} {bf16x3_words(kind)}")]


def _by_activation(kinds: list[dict], words: Callable[[dict], str]) -> list[str]:
    """A row for each cell and size, a column for each activation; what does not fit beside the others stands below."""
    told = {(kind["cell"], kind["n"], kind["activation"]): words(kind) for kind in kinds}
    activations = list(dict.fromkeys(kind["activation"] for kind in kinds))
    width = max(32, *map(len, told.values()))
    abreast = max(1, (WIDTH - 12) // (2 + width))
    text = []
    for shown in (activations[i : i + abreast] for i in range(0, len(activations), abreast)):
        text.append(" " * 12 + "".join(f"  {activation:<{width}}" for activation in shown).rstrip())
        for cell, n in dict.fromkeys((kind["cell"], kind["n"]) for kind in kinds):
            row = f"{cell:<8}{n:>4}" + "".join(f"  {told[cell, n, activation]:<{width}}" for activation in shown)
            text.append(row.rstrip())
    return text


def _rate_words(rate: dict) -> str:
    return f"{rate['median']:.0f} GFLOP/s, {rate['low']:.0f} to {rate['high']:.0f}"


def _range(speed: dict) -> str:
    return f"{speed['median']:.0f} ({speed['low']:.0f}-{speed['high']:.0f})"


def in_bf16x3(kinds: list[dict]) -> list[dict]:
    """Those that were timed in bf16x3 too, with that for our side in the ratios to the peers, round by round."""
    return [
        kind | {"peers": [_beside_bf16x3(kind[BF16X3], entry) for entry in kind["peers"]]}
        for kind in kinds
        if BF16X3 in kind
    ]


def _beside_bf16x3(ours: dict, entry: dict) -> dict:
    if "failed" in entry:
        return entry
    return entry | {"ratio": ratios(ours["gflops"]["rounds"], entry["gflops"]["rounds"])}


def bf16x3_words(kind: dict) -> str:
    """How many times as fast bf16x3 is as float32, with its range; "-" where it was not timed."""
    return ratio_words(kind[BF16X3] | {"same_cell": True} if BF16X3 in kind else None)


def _count(rate: float) -> str:
    """A rate in at least two digits."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _peer_table(head: str, kinds: list[dict]) -> list[str]:
    """As many columns of peers as fit side by side, the others below them."""
    peers = {entry["peer"]: entry["label"] for kind in kinds for entry in kind["peers"]}
    tables = -(-len(peers) // PEERS_ABREAST)
    abreast = -(-len(peers) // tables)
    text = [head]
    for shown in (list(peers)[i : i + abreast] for i in range(0, len(peers), abreast)):
        text.append(" " * 16 + "".join(f"  {peers[peer]:<14}" for peer in shown).rstrip())
        for kind in kinds:
            row = f"{kind['cell'] + '-' + kind['activation']:<12}{kind['n']:>4}"
            entries = {entry["peer"]: entry for entry in kind["peers"]}
            row += "".join(f"  {ratio_words(entries.get(peer)):<14}" for peer in shown)
            text.append(row.rstrip())
    return text


def beside_many(kinds: list[dict]) -> list[str]:
    """How many times as fast we are as each peer with `MANY` networks at once or more, lowest and highest by size.

    Of the tries in which the best number of networks was found: they take no turns with us.
    """
    ratios_by_size: dict[str, dict[int, list[float]]] = {}
    for kind in kinds:
        for entry in kind["peers"]:
            rates = [tried["gflops"] for tried in entry.get("by_networks", []) if tried["networks"] >= MANY]
            if rates:
                mine = ratios_by_size.setdefault(entry["label"], {}).setdefault(kind["n"], [])
                mine += [kind["gflops"]["median"] / rate for rate in rates]
    return [
        f"{label} of {MANY} or more: "
        + ", ".join(f"n = {n} {short(min(values))}-{short(max(values))}" for n, values in by_size.items())
        for label, by_size in ratios_by_size.items()
    ]


def _notes(kinds: list[dict]) -> list[str]:
    """What a reader of the ratios has to know."""
    entries = [(kind, entry) for kind in kinds for entry in kind["peers"]]
    text = list(dict.fromkeys(f"{entry['label']}: {entry['title']}" for _, entry in entries))
    text = [note for note in text if len(set(note.split(": "))) > 1]
    if not all(entry["same_cell"] for _, entry in entries):
        text.append("* another cell: its reset gate acts after the product")
    text += [
        f"! {kind['task']} {kind['cell']}-{kind['activation']} {kind['n']}, {entry['label']}: {entry['failed']}"[:80]
        for kind, entry in entries
        if "failed" in entry
    ]
    return text


def ratio_words(entry: dict | None) -> str:
    """A peer's ratio with its range; "!" where it failed, "-" where it has no such cell.

    >>> ratio_words({"same_cell": True, "ratio": {"median": 2.04, "low": 1.96, "high": 13.0}}), ratio_words(None)
    ('2.0 (2.0-13)', '-')
    """
    if entry is None:
        return "-"
    if "failed" in entry:
        return "!"
    median, low, high = (short(entry["ratio"][name]) for name in ("median", "low", "high"))
    return f"{median}{'' if entry['same_cell'] else '*'} ({low}-{high})"


def short(ratio: float) -> str:
    """Two digits.

    >>> short(3.14159), short(31.4)
    ('3.1', '31')
    """
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


SECTION = Section("training", steps, gather, lines)

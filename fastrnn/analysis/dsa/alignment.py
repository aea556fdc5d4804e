"""The best orthogonal alignment of two linear maps: Jacobi's method on their inner product, from several starts.

Of A and B (r, r) the largest `<A, C B C^T>` over orthogonal C is wanted, `<X, Y>` the sum of the products of their
elements. In the plane of two coordinates i and j the best C is known: as a function of the angle t of a rotation, or
of a rotation after a reflection, the inner product is `a cos t + b sin t + p cos 2t + q sin 2t` and a constant. A
sweep takes all planes in turn and turns B in each, as Jacobi (1846) did to make a matrix diagonal; where two angles
are nearly as good, it may be to the second-best. It ends in a local maximum, after many sweeps where eigenvalues lie
close; angles are therefore taken somewhat larger than the best (`RELAXATION`, as in successive over-relaxation), which
makes 40 sweeps as good as 160. `LANES` starts are turned side by side, one in each lane of a vector, and the largest
inner product of them is kept.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiled import compiled, part
from ...engines.cpu.emit import accumulate_over, broadcast
from ...engines.cpu.vectors import Vector

LANES = 16  # starts of a pair, side by side in a vector of float64, cut to the processor's by LLVM
FRAMES = 3  # starts of a pair that lie in frames of their own
SIGN_STEPS = 50  # of the power method
GRID = 8  # angles in half a turn among which the largest value is looked for; the other half is known with it
NEWTON = 2  # steps from there
LONGEST = 0.25  # step, in radians
RELAXATION, SMALL = 1.6, 0.15  # times the angle, where its sine is smaller than this: elsewhere far from a maximum
PLAIN = 3  # first sweeps, without relaxation
SWEEPS = 200  # at most
GAIN, PATIENCE = 1e-6, 4  # ended where so many sweeps have not raised the best inner product by so much

DOUBLE, WHOLE = ir.DoubleType(), ir.IntType(64)
VECTOR = ir.VectorType(DOUBLE, LANES)


@intrinsic
def turn_plane(typing_context, a, b, r, i, j, relaxation):
    """Turn B (r, r, LANES), given by address, in the plane of i and j to where it is most like A (r, r)."""
    signature = types.void(*(types.intp,) * 5, types.float64)

    def generate(context, builder, signature, arguments):
        a, b, r, i, j, relaxation = arguments

        def place(base, row, column, kind, width):
            number = builder.add(builder.mul(row, r), column)
            return builder.inttoptr(builder.add(base, builder.mul(number, WHOLE(8 * width))), kind.as_pointer())

        def of_a(row, column):
            return Vector(builder, broadcast(builder, builder.load(place(a, row, column, DOUBLE, 1)), LANES))

        def of_b(row, column):
            return Vector(builder, builder.load(place(b, row, column, VECTOR, LANES), align=8))

        def put(vector, row, column):
            builder.store(vector.value, place(b, row, column, VECTOR, LANES), align=8)

        def each(start, body):
            """`body(k, vectors)` for k = 0 .. r - 1."""

            def inside(k, values):
                return [vector.value for vector in body(k, [Vector(builder, value) for value in values])]

            return [Vector(builder, value) for value in accumulate_over(builder, r, start, inside)]

        def inner_products(k, sums):
            ii, jj, ij, ji = sums
            a_row_i, a_column_i, a_row_j, a_column_j = of_a(i, k), of_a(k, i), of_a(j, k), of_a(k, j)
            b_row_i, b_column_i, b_row_j, b_column_j = of_b(i, k), of_b(k, i), of_b(j, k), of_b(k, j)
            return [
                ii + a_row_i * b_row_i + a_column_i * b_column_i,
                jj + a_row_j * b_row_j + a_column_j * b_column_j,
                ij + a_row_i * b_row_j + a_column_i * b_column_j,
                ji + a_row_j * b_row_i + a_column_j * b_column_i,
            ]

        zero = ir.Constant(VECTOR, [0.0] * LANES)
        sums = each([zero] * 4, inner_products)
        block_a = of_a(i, i), of_a(i, j), of_a(j, i), of_a(j, j)
        block_b = of_b(i, i), of_b(i, j), of_b(j, i), of_b(j, j)
        c, s, sign = _best_turn(builder, sums, block_a, block_b, Vector(builder, broadcast(builder, relaxation, LANES)))

        def turn(place_i, place_j):
            x, y = of_b(*place_i), sign * of_b(*place_j)
            put(c * x - s * y, *place_i)
            put(s * x + c * y, *place_j)

        each([], lambda k, _: turn((i, k), (j, k)) or [])
        each([], lambda k, _: turn((k, i), (k, j)) or [])
        return context.get_dummy_value()

    return signature, generate


def _best_turn(builder, sums, block_a, block_b, relaxation):
    """Cosine and sine of the angle, and 1 or -1 where j is reflected first, lane by lane.

    sums : inner products of rows and columns of A with those of B, i with i, j with j, i with j, j with i
    block_a, block_b : elements ii, ij, ji, jj
    """
    a_ii, a_ij, a_ji, a_jj = block_a
    b_ii, b_ij, b_ji, b_jj = block_b
    both, across = b_ij + b_ji, a_ij + a_ji
    # the block itself turns by twice the angle, and is in all sums as if it were outside
    ii = sums[0] - 2.0 * (a_ii * b_ii) - a_ij * b_ij - a_ji * b_ji
    jj = sums[1] - 2.0 * (a_jj * b_jj) - a_ij * b_ij - a_ji * b_ji
    ij = sums[2] - a_ii * both - across * b_jj
    ji = sums[3] - a_jj * both - across * b_ii
    # a block is a multiple of I, one of a quarter turn, and what turns by 2 t
    a_mean, a_turn, a_first = a_ii + a_jj, a_ij - a_ji, a_ii - a_jj
    b_mean, b_turn, b_first = 0.5 * (b_ii + b_jj), 0.5 * (b_ij - b_ji), 0.5 * (b_ii - b_jj)
    b_second = 0.5 * both
    chosen = None
    for sign in (1.0, -1.0):
        a, b = ii + sign * jj, ji - sign * ij
        p, q = a_first * b_first + sign * (across * b_second), across * b_first - sign * (a_first * b_second)
        best, c, s = _best_of_grid(a, b, p, q)
        found = [best + a_mean * b_mean + sign * (a_turn * b_turn), c, s, a.filled(sign), a, b, p, q]
        if chosen is not None:
            better = found[0].compare(">", chosen[0])
            found = [old.replace(better, new) for old, new in zip(chosen, found, strict=True)]
        chosen = found
    _, c, s, sign, a, b, p, q = chosen
    for _ in range(NEWTON):
        c2, s2 = c * c - s * s, 2.0 * (c * s)
        slope = b * c - a * s + 2.0 * (q * c2 - p * s2)
        bend = a * c + b * s + 4.0 * (p * c2 + q * s2)  # less the second derivative, above 0 near a maximum
        step = (slope / bend.where("<", 1e-300, 1e300)).clamp(-LONGEST, LONGEST)
        cosine = 1.0 - 0.5 * (step * step)  # to the fourth order, which is mended at the end
        c, s = c * cosine - s * step, s * cosine + c * step
    c, s = _normalised(c, s)
    near = builder.and_(sign.compare(">", 0.0), c.compare(">", 0.0))
    near = builder.and_(near, (s * s).compare("<", SMALL**2))
    return *_normalised(c, s.replace(near, relaxation * s)), sign


def _best_of_grid(a, b, p, q):
    """The largest `a cos t + b sin t + p cos 2t + q sin 2t` of `2 GRID` angles; its cosine and sine."""
    best = c = s = None
    for step in range(GRID):
        angle = math.pi * step / GRID
        linear = math.cos(angle) * a + math.sin(angle) * b
        half = linear.compare("<", 0.0)  # then half a turn further on it is larger, the rest the same
        value = linear.replace(half, -linear) + (math.cos(2 * angle) * p + math.sin(2 * angle) * q)
        cosine, sine = (a.filled(number).replace(half, -number) for number in (math.cos(angle), math.sin(angle)))
        if best is not None:
            better = value.compare(">", best)
            value, cosine, sine = best.replace(better, value), c.replace(better, cosine), s.replace(better, sine)
        best, c, s = value, cosine, sine
    return best, c, s


def _normalised(c, s):
    scale = 1.0 / (c * c + s * s).sqrt()
    return c * scale, s * scale


@compiled
def largest_inner_product(a, b):
    """The largest `<A, C B C^T>` found, for A (r, r) from the starts B (r, r, LANES), which are turned; and sweeps."""
    r = len(a)
    best, since = -math.inf, 0
    for sweep in range(SWEEPS):
        relaxation = RELAXATION if sweep >= PLAIN else 1.0
        for i in range(r - 1):
            for j in range(i + 1, r):
                turn_plane(a.ctypes.data, b.ctypes.data, r, i, j, relaxation)
        found = best
        for v in range(LANES):
            total = 0.0
            for i in range(r):
                for j in range(r):
                    total += a[i, j] * b[i, j, v]
            found = max(found, total)
        since = 0 if found > best + GAIN else since + 1
        best = found
        if since >= PATIENCE:
            break
    return best, sweep + 1


@compiled
def align_pairs(operators, starts, frames, pairs, found):
    """`largest_inner_product` of operators i and j for each (i, j) of `pairs` (P, 2), into `found` (P,).

    operators : (N, r, r); starts, frames : see `starts_of`
    """
    r = operators.shape[1]
    b, half, likeness = np.empty((r, r, LANES)), np.empty((r, r)), np.empty((r, r))
    for p in range(len(pairs)):
        i, j = pairs[p]
        for u in range(r):  # as slices this would take a second more to compile
            for v in range(r):
                for lane in range(LANES):
                    b[u, v, lane] = starts[j, u, v, lane]
        for lane in range(FRAMES):
            frame = frames[i, lane]
            for u in range(r):
                for v in range(r):
                    likeness[u, v] = starts[i, u, v, lane] * starts[j, u, v, lane]
            signs = _signs(likeness)
            for u in range(r):
                for v in range(r):
                    half[u, v] = 0.0
                    for w in range(r):
                        half[u, v] += frame[u, w] * signs[w] * starts[j, w, v, lane]
            for u in range(r):
                for v in range(r):
                    b[u, v, lane] = 0.0
                    for w in range(r):
                        b[u, v, lane] += half[u, w] * signs[w] * frame[v, w]
        found[p] = largest_inner_product(operators[i], b)[0]


@part
def _signs(likeness):
    """Signs (r,) for which the sum of `signs[u] likeness[u, v] signs[v]` is large: those of its first eigenvector."""
    r = len(likeness)
    shift = 0.0  # makes the largest eigenvalue the largest in magnitude
    for u in range(r):
        total = 0.0
        for v in range(r):
            total += abs(likeness[u, v] + likeness[v, u])
        shift = max(shift, total)
    x, y = np.ones(r), np.empty(r)
    for u in range(r):
        x[u] += 0.1 * u  # not at a right angle to it
    for _ in range(SIGN_STEPS):
        largest = 0.0
        for u in range(r):
            y[u] = shift * x[u]
            for v in range(r):
                y[u] += (likeness[u, v] + likeness[v, u]) * x[v]
            largest = max(largest, abs(y[u]))
        for u in range(r):
            x[u] = y[u] / largest if largest > 0 else 1.0
    for u in range(r):
        x[u] = 1.0 if x[u] >= 0 else -1.0
    return x


def starts_of(operators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of operators A (N, r, r) each in `LANES` coordinates, (N, r, r, LANES), and frames F (N, FRAMES, r, r).

    The first are F^T A F for frames that turn with A: eigenvectors of A + A^T, of A^T A and of A A^T. A start of B for
    A has its elements in A's frame, with the signs that fit best: of a turned copy that is the copy turned back. Then
    come A as it is, and A turned at random, all operators alike.
    """
    N, r, _ = operators.shape
    transposed = operators.transpose(0, 2, 1)
    of_frames = (operators + transposed, transposed @ operators, operators @ transposed)
    frames = np.stack([np.linalg.eigh(matrices)[1] for matrices in of_frames], axis=1)
    rng = np.random.default_rng(0)
    random = [np.linalg.qr(rng.normal(size=(r, r)))[0] for _ in range(LANES - FRAMES - 1)]
    starts = np.empty((N, r, r, LANES))
    for v, turn in enumerate([*frames.transpose(1, 0, 3, 2), np.eye(r), *random]):
        starts[..., v] = turn @ operators @ np.swapaxes(turn, -1, -2)
    return starts, frames

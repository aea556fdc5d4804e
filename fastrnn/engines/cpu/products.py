"""Matrix micro-kernels as LLVM vector code, called with addresses from compiled loops.

All matrices are float32, given by address and strides counted in elements. What is made is cut into tiles, whose
accumulators stay in registers over the whole depth. A tile of nearly as many rows as vectors of columns takes the
fewest loads; where another thread shares the core, every instruction counts. A left operand is row-major, or read
transposed (its depth stride is then the longer one). What is right of it and what is made are row-major too, or cut
into panels of `PANEL` columns, the last one `LANES` wide where only so many are left, which lie one behind the other.

A second product A2 B2 may be added in the same registers: `beside` is (A2, its row stride, B2, its row stride, its
depth), both row-major, or `NONE_BESIDE`.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from ...compiled import part
from .emit import ADDRESS, ZERO, accumulate_over, broadcast, element, load, merge, multiply_add, store, sum_lanes
from .vectors import INT64, LANES

PANEL = 2 * LANES  # columns of a panel
# (rows, vectors): 24 accumulators of 32 registers, or 12 of 16; of fewer than 8, multiply-adds wait for each other
TILES = ((8, 1), (8, 2), (6, 4)) if LANES == 16 else ((8, 1), (6, 2))
WIDEST = TILES[-1][1]  # vectors
DEPTH = 288  # of a block, at most; half of it is no faster
AT_ONCE = 4  # steps of the depth that lie behind each other in code
NONE_BESIDE = (0, 0, 0, 0, 0)
IN_PANELS = 0  # for a row stride: panels, whose rows are as far apart as they are wide


def make_micro_kernel(rows: int, vectors: int, packed: bool):
    """C (rows, vectors * LANES) = [C if keep +] A (rows, depth) B (depth, vectors * LANES) + A2 B2.

    A is (address, stride), B and C are (address, row stride, distance of panels). Either B is `packed` in panels and A
    row-major, or A is read transposed, nothing is beside, and the depth is 1 at least. Strides that are known when the
    kernel is compiled, as B's is where it is packed, leave fewer instructions between the multiply-adds, which counts
    most where another thread shares the core.
    """

    def columns(builder, row, panel):
        """Pointers to a row's vectors."""
        return [
            element(builder, element(builder, row, builder.mul(panel, INT64(j // 2))), INT64(j % 2 * LANES))
            for j in range(vectors)
        ]

    @intrinsic
    def micro_kernel(typing_context, a, b, c, depth, keep, beside):
        signature = types.void(a, b, c, depth, types.boolean, beside)

        def generate(context, builder, signature, arguments):
            depth, keep = arguments[3:5]
            a, b, c, (a2, a2_row, b2, b2_row, depth2) = (
                [builder.extract_value(matrix, i) for i in range(matrix.type.count)]
                for matrix in (*arguments[:3], arguments[5])
            )
            cells = [
                cell
                for i in range(rows)
                for cell in columns(builder, element(builder, c[0], builder.mul(c[1], INT64(i))), c[2])
            ]

            def product(a, a_row, a_depth, b, b_row, b_panel):
                def body(k, sums):
                    b_k = element(builder, b, builder.mul(k, b_row))
                    right = [load(builder, place) for place in columns(builder, b_k, b_panel)]
                    a_k = element(builder, a, builder.mul(k, a_depth))
                    following = []
                    for i in range(rows):
                        left = broadcast(builder, builder.load(element(builder, a_k, builder.mul(a_row, INT64(i)))))
                        following += [
                            multiply_add(builder, left, right[j], sums[i * vectors + j]) for j in range(vectors)
                        ]
                    return following

                return body

            before = builder.block
            with builder.if_then(keep):
                kept, at = [load(builder, cell) for cell in cells], builder.block
            sums = [merge(builder, (ZERO, before), (value, at)) for value in kept]
            if packed:
                first = product(a[0], a[1], INT64(1), b[0], INT64(min(vectors, 2) * LANES), b[2])
                second = product(a2, a2_row, INT64(1), b2, b2_row, INT64(PANEL))
                sums = accumulate_over(builder, depth, sums, first, may_be_empty=True, at_once=AT_ONCE)
                sums = accumulate_over(builder, depth2, sums, second, may_be_empty=True)
            else:
                sums = accumulate_over(builder, depth, sums, product(a[0], INT64(1), a[1], *b))
            for value, cell in zip(sums, cells, strict=True):
                store(builder, value, cell)
            return context.get_dummy_value()

        return signature, generate

    return micro_kernel


def make_tile(tiles, packed: bool):
    """One tile of a product, of those in `tiles`, (rows, vectors) for 1, 2 and `WIDEST` vectors."""
    kernels = [make_micro_kernel(*tile, packed) for tile in tiles]
    one, two, most = kernels[0], kernels[1], kernels[-1]

    @part
    def multiply(vectors, a, b, c, depth, keep, beside):
        if vectors == 1:
            one(a, b, c, depth, keep, beside)
        elif WIDEST == 2 or vectors == 2:
            two(a, b, c, depth, keep, beside)
        else:
            most(a, b, c, depth, keep, beside)

    return multiply


def make_product(packed: bool):
    """C = [C if keep +] A B + A2 B2, rows a multiple of 4, columns one of `LANES`.

    A, B and C as in `make_micro_kernel`, or with the row stride `IN_PANELS`.
    """
    tile, last_tile = make_tile(TILES, packed), make_tile([(4, vectors) for _, vectors in TILES], packed)
    rows_one, rows_two, rows_most = TILES[0][0], TILES[1][0], TILES[-1][0]

    @part
    def multiply(a, b, c, rows, columns, depth, keep, beside):
        a2, a2_row, b2, b2_row, depth2 = beside
        blocks = max(1, (depth + DEPTH - 1) // DEPTH)
        j = 0
        while j < columns:
            remaining = (columns - j) // LANES
            vectors = WIDEST if remaining >= WIDEST else min(remaining, 2)
            step = rows_one if vectors == 1 else rows_two if vectors == 2 else rows_most
            together = step if step % 4 == 0 else 2 * step  # so that what is left is a multiple of 4
            whole = rows // together * together
            width = min(vectors, 2) * LANES
            b_row = b[1] if b[1] != IN_PANELS else width
            c_row = c[1] if c[1] != IN_PANELS else width
            for block in range(blocks):
                k, k_end = block * depth // blocks, (block + 1) * depth // blocks
                b_k = (b[0] + 4 * (j // PANEL * b[2] + k * b_row), b_row, b[2])
                keep_k, depth2_k = keep or block > 0, depth2 if block == blocks - 1 else 0
                i = 0
                while i < rows:
                    a_i = (a[0] + 4 * (i * a[1] + k if packed else i + k * a[1]), a[1])
                    c_i = (c[0] + 4 * (j // PANEL * c[2] + i * c_row), c_row, c[2])
                    beside_i = (a2 + 4 * i * a2_row, a2_row, b2 + 4 * j, b2_row, depth2_k)
                    if i < whole:
                        tile(vectors, a_i, b_k, c_i, k_end - k, keep_k, beside_i)
                        i += step
                    else:
                        last_tile(vectors, a_i, b_k, c_i, k_end - k, keep_k, beside_i)
                        i += 4
            j += vectors * LANES

    return multiply


_multiply_packed, _multiply_transposed = make_product(packed=True), make_product(packed=False)


@part(signature=types.void(*(types.int64,) * 9, types.boolean, types.UniTuple(types.int64, 5)))
def multiply_packed(a, a_row, b, c, c_row, rows, columns, depth, panel_rows, keep, beside):
    """C (rows, columns) = [C +] A (rows, depth) B (depth, columns) + A2 B2, B in panels of `panel_rows` rows.

    The depth may be 0.
    """
    right = (b, IN_PANELS, PANEL * panel_rows)
    _multiply_packed((a, a_row), right, (c, c_row, PANEL), rows, columns, depth, keep, beside)


@part(signature=types.void(*(types.int64,) * 10))
def multiply_transposed(a, a_depth, b, b_row, c, c_row, c_panel, rows, columns, depth):
    """C += A^T B for A (depth, rows), B (depth, columns), depth 1 or more.

    C is row-major with `c_panel` = PANEL, or has `c_row` = IN_PANELS and panels of `c_panel` elements.
    """
    _multiply_transposed((a, a_depth), (b, b_row, PANEL), (c, c_row, c_panel), rows, columns, depth, True, NONE_BESIDE)


def make_dots(outputs: int):
    """Four rows of a product of so many columns, with the terms of a dot product side by side: an intrinsic."""

    @intrinsic
    def dots(typing_context, a, a_row, b, b_row, size, out, out_row):
        """out[i * out_row + k] = sum over u < size of a[i * a_row + u] b[k * b_row + u], i < 4, k < outputs."""
        signature = types.void(*(ADDRESS,) * 7)

        def generate(context, builder, signature, arguments):
            a, a_row, b, b_row, size, out, out_row = arguments

            def body(step, sums):
                u = builder.mul(step, INT64(LANES))

                def vectors(base, row, count):
                    places = (builder.add(u, builder.mul(row, INT64(i))) for i in range(count))
                    return [load(builder, element(builder, base, place)) for place in places]

                lefts, rights = vectors(a, a_row, 4), vectors(b, b_row, outputs)
                pairs = ((left, right) for left in lefts for right in rights)
                return [multiply_add(builder, *pair, s) for pair, s in zip(pairs, sums, strict=True)]

            sums = accumulate_over(builder, builder.sdiv(size, INT64(LANES)), [ZERO] * 4 * outputs, body)
            for k in range(outputs):
                for i, total in enumerate(sum_lanes(builder, sums[k::outputs])):
                    place = builder.add(builder.mul(out_row, INT64(i)), INT64(k))
                    builder.store(total, element(builder, out, place))
            return context.get_dummy_value()

        return signature, generate

    return dots


_one_output, _two_outputs, _three_outputs = map(make_dots, (1, 2, 3))  # of three, 12 sums, 3 rows and 1 are 16 vectors


@part
def multiply_rows(a, a_row, b, b_row, out, out_row, rows, outputs, size):
    """out (rows, outputs) = A (rows, size) B^T for B (outputs, size); rows a multiple of 4, size one of LANES."""
    for i in range(0, rows, 4):
        a_i, out_i = a + 4 * i * a_row, out + 4 * i * out_row
        for k in range(0, outputs, 3):
            b_k, out_k = b + 4 * k * b_row, out_i + 4 * k
            if outputs - k >= 3:
                _three_outputs(a_i, a_row, b_k, b_row, size, out_k, out_row)
            elif outputs - k == 2:
                _two_outputs(a_i, a_row, b_k, b_row, size, out_k, out_row)
            else:
                _one_output(a_i, a_row, b_k, b_row, size, out_k, out_row)

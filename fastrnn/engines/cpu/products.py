"""Matrix micro-kernels as LLVM vector code, called with addresses from compiled loops.

All matrices are float32, row-major, given by address and strides counted in elements. `ROWS` x `PANEL` is the register
tile: its accumulators stay in registers over the whole depth. A left operand may be read transposed (its depth stride
is then the longer one). Panels of the right operand that are packed lie one behind the other, depth-major.

A second product A2 B2 may be added in the same registers: `beside` is (A2, its row stride, B2, its row stride, its
depth), both row-major, or `NONE_BESIDE`.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from ...compiled import part
from .emit import ADDRESS, ZERO, accumulate_over, broadcast, element, load, multiply_add, store, sum_lanes
from .vectors import INT64, LANES

ROWS = 8 if LANES == 16 else 4  # rows of the register tile; 16 accumulators of 32 registers, or 8 of 16
PANEL = 2 * LANES  # columns of the register tile
AT_ONCE = 4  # steps of a packed product behind each other
DEPTH = 288  # depth of a block: a packed panel of it stays in the first-level cache
NONE_BESIDE = (0, 0, 0, 0, 0)


def make_micro_kernel(rows: int, vectors: int, keep: bool, packed: bool):
    """C (rows, vectors * LANES) = [C if keep +] A (rows, depth) B (depth, vectors * LANES) + A2 B2.

    Where B is a packed panel and A is not transposed, two distances are known when the kernel is compiled, and several
    steps lie behind each other: fewer instructions between the multiply-adds, which matters most where another thread
    shares the core.
    """

    @intrinsic
    def micro_kernel(typing_context, a, a_row, a_depth, b, b_row, c, c_row, depth, a2, a2_row, b2, b2_row, depth2):
        signature = types.void(*(ADDRESS,) * 13)

        def generate(context, builder, signature, arguments):
            a, a_row, a_depth, b, b_row, c, c_row, depth, a2, a2_row, b2, b2_row, depth2 = arguments
            cells = [
                element(builder, element(builder, c, builder.mul(c_row, INT64(i))), INT64(j * LANES))
                for i in range(rows)
                for j in range(vectors)
            ]

            def product(a, a_row, a_depth, b, b_row):
                def body(k, sums):
                    b_k = element(builder, b, builder.mul(k, b_row))
                    right = [load(builder, element(builder, b_k, INT64(j * LANES))) for j in range(vectors)]
                    a_k = element(builder, a, builder.mul(k, a_depth))
                    following = []
                    for i in range(rows):
                        left = broadcast(builder, builder.load(element(builder, a_k, builder.mul(a_row, INT64(i)))))
                        following += [
                            multiply_add(builder, left, right[j], sums[i * vectors + j]) for j in range(vectors)
                        ]
                    return following

                return body

            sums = [load(builder, cell) if keep else ZERO for cell in cells]
            if packed:
                whole = product(a, a_row, INT64(1), b, INT64(vectors * LANES))
                sums = accumulate_over(builder, depth, sums, whole, may_be_empty=True, at_once=AT_ONCE)
            else:
                sums = accumulate_over(builder, depth, sums, product(a, a_row, a_depth, b, b_row))
            sums = accumulate_over(builder, depth2, sums, product(a2, a2_row, INT64(1), b2, b2_row), may_be_empty=True)
            for value, cell in zip(sums, cells, strict=True):
                store(builder, value, cell)
            return context.get_dummy_value()

        return signature, generate

    return micro_kernel


def make_block(rows: int, packed: bool):
    """`rows` rows of one panel of a product: C = [C if keep +] A B + A2 B2, `PANEL` columns wide or `LANES`."""
    wide_new, wide_add = (make_micro_kernel(rows, 2, keep, packed) for keep in (False, True))
    narrow_new, narrow_add = (make_micro_kernel(rows, 1, keep, packed) for keep in (False, True))

    @part
    def block(a, a_row, a_depth, b, b_row, c, c_row, depth, wide, keep, beside):
        a2, a2_row, b2, b2_row, depth2 = beside
        if wide:
            if keep:
                wide_add(a, a_row, a_depth, b, b_row, c, c_row, depth, a2, a2_row, b2, b2_row, depth2)
            else:
                wide_new(a, a_row, a_depth, b, b_row, c, c_row, depth, a2, a2_row, b2, b2_row, depth2)
        elif keep:
            narrow_add(a, a_row, a_depth, b, b_row, c, c_row, depth, a2, a2_row, b2, b2_row, depth2)
        else:
            narrow_new(a, a_row, a_depth, b, b_row, c, c_row, depth, a2, a2_row, b2, b2_row, depth2)

    return block


def make_panel(packed: bool):
    """One panel of columns of a product: C = [C +] A B + A2 B2, rows a multiple of 4; B `packed` and A not transposed."""
    whole_block, four_rows = make_block(ROWS, packed), make_block(4, packed)

    @part
    def multiply_panel(a, a_row, a_depth, b, b_row, c, c_row, rows, depth, wide, keep, beside):
        a2, a2_row, b2, b2_row, depth2 = beside
        i = 0
        while i < rows:
            a_i, c_i = a + 4 * i * a_row, c + 4 * i * c_row
            beside_i = (a2 + 4 * i * a2_row, a2_row, b2, b2_row, depth2)
            if i + ROWS <= rows:
                whole_block(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth, wide, keep, beside_i)
                i += ROWS
            else:
                four_rows(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth, wide, keep, beside_i)
                i += 4

    return multiply_panel


multiply_panel, multiply_packed_panel = make_panel(packed=False), make_panel(packed=True)


@part(signature=types.void(*(types.int64,) * 9, types.boolean, types.UniTuple(types.int64, 5)))
def multiply_packed(a, a_row, b, c, c_row, rows, columns, depth, panel_rows, keep, beside):
    """C (rows, columns) = [C +] A (rows, depth) B (depth, columns) + A2 B2, B in packed panels of `panel_rows` rows."""
    a2, a2_row, b2, b2_row, depth2 = beside
    blocks = (depth + DEPTH - 1) // DEPTH
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        width = PANEL if wide else LANES
        b_j = b + 4 * j * panel_rows
        for block in range(blocks):
            k = block * depth // blocks
            k_end = (block + 1) * depth // blocks
            multiply_packed_panel(
                a + 4 * k,
                a_row,
                1,
                b_j + 4 * k * width,
                width,
                c + 4 * j,
                c_row,
                rows,
                k_end - k,
                wide,
                keep or block > 0,
                (a2, a2_row, b2 + 4 * j, b2_row, depth2 if block == blocks - 1 else 0),
            )


@part(signature=types.void(*(types.int64,) * 9))
def multiply_transposed(a, a_depth, b, b_row, c, rows, columns, depth, panel_rows):
    """C += A^T B for A (depth, rows), B (depth, columns); C in packed panels of `panel_rows` rows."""
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        width = PANEL if wide else LANES
        multiply_panel(
            a, 1, a_depth, b + 4 * j, b_row, c + 4 * j * panel_rows, width, rows, depth, wide, True, NONE_BESIDE
        )


@part
def multiply_rows(a, a_row, a_depth, b, b_row, c, c_row, rows, columns, depth):
    """C += A B, B and C row-major; for the few columns or rows of the readout."""
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        multiply_panel(a, a_row, a_depth, b + 4 * j, b_row, c + 4 * j, c_row, rows, depth, wide, True, NONE_BESIDE)


@intrinsic
def four_dots(typing_context, a, a_row, b, size, out, out_row):
    """out[i * out_row] = sum over u < size of a[i * a_row + u] b[u], i = 0 .. 3; size a multiple of LANES."""
    signature = types.void(*(ADDRESS,) * 6)

    def generate(context, builder, signature, arguments):
        a, a_row, b, size, out, out_row = arguments

        def body(k, sums):
            u = builder.mul(k, INT64(LANES))
            right = load(builder, element(builder, b, u))
            lefts = [load(builder, element(builder, a, builder.add(u, builder.mul(a_row, INT64(i))))) for i in range(4)]
            return [multiply_add(builder, left, right, s) for left, s in zip(lefts, sums, strict=True)]

        sums = accumulate_over(builder, builder.sdiv(size, INT64(LANES)), [ZERO] * 4, body)
        for i, total in enumerate(sum_lanes(builder, sums)):
            builder.store(total, element(builder, out, builder.mul(out_row, INT64(i))))
        return context.get_dummy_value()

    return signature, generate

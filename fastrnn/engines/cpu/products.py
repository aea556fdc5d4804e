"""Matrix micro-kernels as LLVM vector code, called with addresses from compiled loops.

All matrices are float32, row-major, given by address and strides counted in elements. `ROWS` x `PANEL` is the register
tile: its accumulators stay in registers over the whole depth. A left operand may be read transposed (its depth stride
is then the longer one). Panels of the right operand that are packed lie one behind the other, depth-major.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from ...compiled import part
from .emit import ADDRESS, ZERO, accumulate_over, broadcast, element, load, multiply_add, store, sum_lanes
from .vectors import INT64, LANES

ROWS = 8 if LANES == 16 else 4  # rows of the register tile; 16 accumulators of 32 registers, or 8 of 16
PANEL = 2 * LANES  # columns of the register tile
DEPTH = 288  # depth of a block: a packed panel of it stays in the first-level cache


def make_micro_kernel(rows: int, vectors: int, keep: bool):
    """C (rows, vectors * LANES) = [C if keep +] A (rows, depth) B (depth, vectors * LANES)."""

    @intrinsic
    def micro_kernel(typing_context, a, a_row, a_depth, b, b_row, c, c_row, depth):
        signature = types.void(*(ADDRESS,) * 8)

        def generate(context, builder, signature, arguments):
            a, a_row, a_depth, b, b_row, c, c_row, depth = arguments
            cells = [
                element(builder, element(builder, c, builder.mul(c_row, INT64(i))), INT64(j * LANES))
                for i in range(rows)
                for j in range(vectors)
            ]

            def body(k, sums):
                b_k = element(builder, b, builder.mul(k, b_row))
                right = [load(builder, element(builder, b_k, INT64(j * LANES))) for j in range(vectors)]
                a_k = element(builder, a, builder.mul(k, a_depth))
                following = []
                for i in range(rows):
                    left = broadcast(builder, builder.load(element(builder, a_k, builder.mul(a_row, INT64(i)))))
                    following += [multiply_add(builder, left, right[j], sums[i * vectors + j]) for j in range(vectors)]
                return following

            start = [load(builder, cell) if keep else ZERO for cell in cells]
            for value, cell in zip(accumulate_over(builder, depth, start, body), cells, strict=True):
                store(builder, value, cell)
            return context.get_dummy_value()

        return signature, generate

    return micro_kernel


def make_block(rows: int):
    """`rows` rows of one panel of a product: C = [C if keep +] A B, the panel `PANEL` columns wide or `LANES`."""
    wide_new, wide_add = make_micro_kernel(rows, 2, False), make_micro_kernel(rows, 2, True)
    narrow_new, narrow_add = make_micro_kernel(rows, 1, False), make_micro_kernel(rows, 1, True)

    @part
    def block(a, a_row, a_depth, b, b_row, c, c_row, depth, wide, keep):
        if wide:
            if keep:
                wide_add(a, a_row, a_depth, b, b_row, c, c_row, depth)
            else:
                wide_new(a, a_row, a_depth, b, b_row, c, c_row, depth)
        elif keep:
            narrow_add(a, a_row, a_depth, b, b_row, c, c_row, depth)
        else:
            narrow_new(a, a_row, a_depth, b, b_row, c, c_row, depth)

    return block


whole_block, four_rows = make_block(ROWS), make_block(4)


@part
def multiply_panel(a, a_row, a_depth, b, b_row, c, c_row, rows, depth, wide, keep):
    """One panel of columns of a product: C = [C +] A B, rows a multiple of 4."""
    i = 0
    while i + ROWS <= rows:
        whole_block(a + 4 * i * a_row, a_row, a_depth, b, b_row, c + 4 * i * c_row, c_row, depth, wide, keep)
        i += ROWS
    if i < rows:
        four_rows(a + 4 * i * a_row, a_row, a_depth, b, b_row, c + 4 * i * c_row, c_row, depth, wide, keep)


@part
def multiply_packed(a, a_row, b, c, c_row, rows, columns, depth, panel_rows, keep):
    """C (rows, columns) = [C +] A (rows, depth) B (depth, columns), B in packed panels of `panel_rows` rows."""
    blocks = (depth + DEPTH - 1) // DEPTH
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        width = PANEL if wide else LANES
        b_j = b + 4 * j * panel_rows
        for block in range(blocks):
            k = block * depth // blocks
            k_end = (block + 1) * depth // blocks
            multiply_panel(
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
            )


@part
def multiply_transposed(a, a_depth, b, b_row, c, rows, columns, depth, panel_rows):
    """C += A^T B for A (depth, rows), B (depth, columns); C in packed panels of `panel_rows` rows."""
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        width = PANEL if wide else LANES
        multiply_panel(a, 1, a_depth, b + 4 * j, b_row, c + 4 * j * panel_rows, width, rows, depth, wide, True)


@part
def multiply_rows(a, a_row, a_depth, b, b_row, c, c_row, rows, columns, depth):
    """C += A B, B and C row-major; for the few columns or rows of the readout."""
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        multiply_panel(a, a_row, a_depth, b + 4 * j, b_row, c + 4 * j, c_row, rows, depth, wide, True)


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
        for i, vector in enumerate(sums):
            builder.store(sum_lanes(builder, vector), element(builder, out, builder.mul(out_row, INT64(i))))
        return context.get_dummy_value()

    return signature, generate

// Gradient of all weights into the gates: one product over all steps and trials at once.
//
//   dW (n + D + 1, G n) = (h | x | 1)^T da        (GRU, block c: r h in place of h)
//
// A block owns one slice of the steps of one network and a tile (EDGE, EDGE) of the rows of h and the columns of one
// gate block; a thread owns 8 x 8 of it. The rows of x and 1 fall to the blocks of the first tile row: each of their
// threads adds EXTRA rows of its 8 columns. Tiles of LENGTH rows (step, trial) pass through shared memory, one being
// filled while the other is used. Partial sums of the slices are added in update.cu in order.
//
// Overwrites W_rec, W_in and b of a slice of `gradients`. Deterministic. Shared: two tiles of either operand, and of x.
#include "weight_gradient.cuh"

constexpr int LENGTH = 8;

// states (N, T + 1, P, S); inputs (N, T, P, D); gates, das (N, T, P, G n); gradients (N, slices, stride)
template <class Cell, int n, int EDGE, int D, int THREADS, int SHARED>
__global__ void __launch_bounds__(THREADS, THREADS == 256 && D < EDGE / 8 ? 2 : 1)
    weight_gradient(const float* __restrict__ states, const float* __restrict__ inputs, const float* __restrict__ gates,
                    const float* __restrict__ das, float* __restrict__ gradients, const int* __restrict__ status,
                    int stride, int T, int P, int slices) {
  typedef Layout<Cell, n> L;
  constexpr int groups = EDGE / 8;                           // of rows, and of columns
  constexpr int rows = D + 1, extra = (rows + groups - 1) / groups;  // of x and 1; of them, a thread's
  constexpr int vectors = LENGTH * EDGE / 4, per_thread = (vectors + THREADS - 1) / THREADS;
  constexpr int of_inputs = (LENGTH * rows + THREADS - 1) / THREADS;
  constexpr int UNROLL = Cell::second ? 1 : 2;  // so little that two blocks fit on a multiprocessor
  constexpr int tile_floats = 2 * LENGTH * EDGE + LENGTH * rows;
  static_assert(n % EDGE == 0 && EDGE % 8 == 0, "EDGE: a multiple of 8 that divides n");
  static_assert(THREADS == groups * groups, "THREADS: one for 8 x 8 weights");
  static_assert(SHARED == 4 * 2 * tile_floats, "SHARED: two tiles of both operands");

  if (status[GradientTile<Cell, n, EDGE>::network()] != TRAINING) return;
  const GradientTile<Cell, n, EDGE> at(states, inputs, gates, das, gradients, stride, T, P, D, slices);

  DYNAMIC_SHARED(float, shared);
  const int row_group = threadIdx.x / groups, column_group = threadIdx.x % groups;
  float left[per_thread][4], right[per_thread][4], reset[per_thread][4], ahead[of_inputs];

  // The next tile from global memory into registers, and from there into shared memory.
  const float *states_at = at.states, *das_at = at.das, *gates_at = at.gates, *inputs_at = at.inputs;
  const auto fetch = [&]() {
#pragma unroll
    for (int j = 0; j < per_thread; j++) {
      const int e = threadIdx.x + j * THREADS, row = e / (EDGE / 4), column = e % (EDGE / 4) * 4;
      if (vectors % THREADS && e >= vectors) continue;
      load(left[j], states_at + row * L::S + column);
      load(right[j], das_at + row * L::columns + column);
      if constexpr (Cell::second > 0)
        if (at.through_reset) load(reset[j], gates_at + row * L::columns + column);
    }
    if (at.first_row)
#pragma unroll
      for (int j = 0; j < of_inputs; j++) {
        const int e = threadIdx.x + j * THREADS, row = e / rows, d = e % rows;
        if (e < LENGTH * rows) ahead[j] = d < D ? inputs_at[row * D + d] : 1.0f;
      }
    states_at += LENGTH * L::S;
    das_at += LENGTH * L::columns;
    if constexpr (Cell::second > 0) gates_at += LENGTH * L::columns;
    inputs_at += LENGTH * D;
  };
  const auto put = [&](float* tile) {
#pragma unroll
    for (int j = 0; j < per_thread; j++) {
      const int e = threadIdx.x + j * THREADS;
      if (vectors % THREADS && e >= vectors) continue;
      if constexpr (Cell::second > 0)
        if (at.through_reset)
          for (int w = 0; w < 4; w++) left[j][w] *= reset[j][w];
      store(tile + 4 * e, left[j]);
      store(tile + LENGTH * EDGE + 4 * e, right[j]);
    }
    if (at.first_row)
#pragma unroll
      for (int j = 0; j < of_inputs; j++) {
        const int e = threadIdx.x + j * THREADS;
        if (e < LENGTH * rows) tile[2 * LENGTH * EDGE + e] = ahead[j];
      }
  };

  float sums[8][2][4] = {}, extra_sums[extra][2][4] = {};
  fetch();
  put(shared);
  __syncthreads();
  for (int tiles = at.count / LENGTH, use = 0; tiles > 0; tiles--, use ^= 1) {
    if (tiles > 1) fetch();
    const float* tile = shared + use * tile_floats;
#pragma unroll UNROLL
    for (int k = 0; k < LENGTH; k++) {
      float h[2][4], da[2][4];
#pragma unroll
      for (int part = 0; part < 2; part++) {
        load(h[part], tile + k * EDGE + part * EDGE / 2 + row_group * 4);
        load(da[part], tile + (LENGTH + k) * EDGE + part * EDGE / 2 + column_group * 4);
      }
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int part = 0; part < 2; part++)
#pragma unroll
          for (int w = 0; w < 4; w++) sums[i][part][w] = fmaf(h[i / 4][i % 4], da[part][w], sums[i][part][w]);
      if (at.first_row) {
#pragma unroll
        for (int j = 0; j < extra; j++) {
          const int d = row_group + j * groups;
          const float x = tile[2 * LENGTH * EDGE + k * rows + (d < rows ? d : 0)];
#pragma unroll
          for (int part = 0; part < 2; part++)
#pragma unroll
            for (int w = 0; w < 4; w++) extra_sums[j][part][w] = fmaf(x, da[part][w], extra_sums[j][part][w]);
        }
      }
    }
    if (tiles > 1) put(shared + (use ^ 1) * tile_floats);
    __syncthreads();
  }

  float* const to = at.gradients + column_group * 4;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int u = at.unit0 + i / 4 * EDGE / 2 + row_group * 4 + i % 4;
#pragma unroll
    for (int part = 0; part < 2; part++) store(to + u * L::columns + part * EDGE / 2, sums[i][part]);
  }
  if (at.first_row) {
#pragma unroll
    for (int j = 0; j < extra; j++) {
      const int d = row_group + j * groups;
      if (d < rows)
#pragma unroll
        for (int part = 0; part < 2; part++)
          store(to + (n + d) * L::columns + part * EDGE / 2, extra_sums[j][part]);
    }
  }
}

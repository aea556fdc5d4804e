// The way forward of a whole group: every step of every network in one launch.
//
//   a = h W_rec + x W_in + b, h' = cell(a, h)      (GRU: a second product with r h as left operand)
//
// A block owns TRIALS trials of one network from the first step to the last: states in shared memory, columns of the
// product in passes of at most LIMIT, all gates of a unit in the same pass; a thread owns ROWS trials times 8 columns.
// Weights stay in shared memory (STAGES = all tiles) or stream from the second-level cache. Blocks never wait for each
// other. Shared: two states (TRIALS, n + 4) and STAGES tiles of weights.
//
// Overwrites `states` and `gates`, all P trials. Deterministic: every sum has a fixed order.
#include "layout.cuh"
#include "product.cuh"

template <class Cell, int n, int LIMIT, int THREADS>
struct ForwardOrder {
  static constexpr int columns = Layout<Cell, n>::columns;
  static constexpr int passes = passes_of(Cell::first, n, LIMIT), units = n / passes;
  static constexpr int second_passes = Cell::second ? passes_of(Cell::second, n, LIMIT) : 0;
  static constexpr int second_units = Cell::second ? n / second_passes : 8;
  static constexpr int deep = n / DEPTH, tiles = (passes + second_passes) * deep;
  static constexpr int wide = units * Cell::first, second_wide = second_units * Cell::second;
  static constexpr int floats = DEPTH * (wide > second_wide ? wide : second_wide);

  static __device__ __forceinline__ void copy(float* to, const float* weights, int tile) {
    weights += tile % deep * DEPTH * columns;
    const int pass = tile / deep;
    if (Cell::second == 0 || pass < passes)
      copy_tile<wide, units, THREADS>(to, weights + pass * units, columns, n);
    else
      copy_tile<second_units * (Cell::second ? Cell::second : 1), second_units, THREADS>(
          to, weights + Cell::first * n + (pass - passes) * second_units, columns, n);
  }
};

// sums = b + x W_in for a thread's rows and columns. x: row 0 of the tile's inputs (TRIALS, D); weights, bias: of the
// thread's first block and unit 0 of the pass.
template <class Owned, int n>
__device__ __forceinline__ void begin(const Owned& owned, typename Owned::Sums& sums, const float* x, int D,
                                      const float* W_in, const float* bias, int columns) {
  if (!owned.active) return;
  constexpr int rows = sizeof(sums) / sizeof(sums[0]);
  const auto column = [&](int v) { return Owned::parts == 1 ? v * n + owned.unit(0) : owned.unit(v); };
#pragma unroll
  for (int v = 0; v < Owned::vectors; v++) {
    float start[Owned::width];
    load(start, bias + column(v));
#pragma unroll
    for (int i = 0; i < rows; i++)
#pragma unroll
      for (int w = 0; w < Owned::width; w++) sums[i][v][w] = start[w];
  }
  for (int d = 0; d < D; d++) {
    float left[rows];
#pragma unroll
    for (int i = 0; i < rows; i++) left[i] = x[owned.row(i) * D + d];
#pragma unroll
    for (int v = 0; v < Owned::vectors; v++) {
      float right[Owned::width];
      load(right, W_in + d * columns + column(v));
#pragma unroll
      for (int i = 0; i < rows; i++)
#pragma unroll
        for (int w = 0; w < Owned::width; w++) sums[i][v][w] = fmaf(left[i], right[w], sums[i][v][w]);
    }
  }
}

// parameters (N, stride); inputs (N, T, P, D); states (N, T + 1, P, S), states[:, 0] = h0;
// gates (N, gate_steps, P, G n), gate_steps = T, or 1 where nobody will ask for them; status (N,)
template <class Cell, int n, int TRIALS, int ROWS, int LIMIT, int STAGES, int THREADS, int SHARED>
__global__ void __launch_bounds__(THREADS)
    rollout(const float* __restrict__ parameters, const float* __restrict__ inputs, float* states, float* gates,
            const int* __restrict__ status, float gate_bias, int stride, int T, int P, int D, int K, int gate_steps) {
  typedef Layout<Cell, n> L;
  typedef ForwardOrder<Cell, n, LIMIT, THREADS> Order;
  typedef Tile<TRIALS, ROWS, Order::units, Cell::first> First;
  typedef Tile<TRIALS, ROWS, Order::second_units, Cell::second ? Cell::second : 1> Second;
  typedef Ring<Order, STAGES> Weights;
  constexpr int row_stride = n + PADDING, state_floats = TRIALS * row_stride;
  static_assert(THREADS == (!Cell::second || First::threads > Second::threads ? First::threads : Second::threads),
                "THREADS: one for ROWS trials and 8 columns");
  static_assert(SHARED == 4 * (2 * state_floats + Weights::floats), "SHARED: two states and the weights");

  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const int trial0 = blockIdx.y * TRIALS;
  parameters += network * stride;
  inputs += (network * T * P + trial0) * D;
  states += (network * (T + 1) * P + trial0) * L::S;
  gates += (network * gate_steps * P + trial0) * L::columns;

  DYNAMIC_SHARED(float, shared);
  float* now = shared;                  // h
  float* other = shared + state_floats;  // h of the next step; the GRU: r h
  Weights ring(parameters, shared + 2 * state_floats, T);

  const float* h0 = parameters + L::h0(D, K);
  for (int e = threadIdx.x; e < TRIALS * L::S; e += THREADS) {
    const int row = e / L::S, u = e % L::S;
    states[e] = h0[u];
    if (u < n) now[row * row_stride + u] = h0[u];
  }

  const First first;
  const Second second;
  for (int t = 0; t < T; t++) {
    __syncthreads();  // h is complete
    float* after = states + static_cast<size_t>(P) * L::S;
    for (int pass = 0; pass < Order::passes; pass++) {
      const int unit0 = pass * Order::units;
      typename First::Sums sums;
      begin<First, n>(first, sums, inputs, D, parameters + L::W_in() + unit0, parameters + L::b(D) + unit0, L::columns);
      for (int k = 0; k < n; k += DEPTH) first.template multiply<row_stride>(sums, now + k, ring.next());
      if (!first.active) continue;
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
        const int row = first.row(i);
#pragma unroll
        for (int part = 0; part < First::parts; part++) {
          const int u = unit0 + first.unit(part);
          float h[First::width], made[Cell::first][First::width], next[First::width];
          load(h, now + row * row_stride + u);
          if constexpr (Cell::second > 0) {
#pragma unroll
            for (int w = 0; w < First::width; w++) {
              float a[Cell::first], gate[Cell::first];
#pragma unroll
              for (int block = 0; block < Cell::first; block++) a[block] = sums[i][part * Cell::first + block][w];
              Cell::forward_gates(gate_bias, a, h[w], gate, next[w]);
#pragma unroll
              for (int block = 0; block < Cell::first; block++) made[block][w] = gate[block];
            }
          } else {
            float cell[First::width], cell_next[First::width];
            if constexpr (Cell::states == 2) load(cell, states + row * L::S + n + u);
#pragma unroll
            for (int w = 0; w < First::width; w++) {
              float a[Cell::first], gate[Cell::first], state[Cell::states], new_state[Cell::states];
#pragma unroll
              for (int block = 0; block < Cell::first; block++) a[block] = sums[i][part * Cell::first + block][w];
              state[0] = h[w];
              if constexpr (Cell::states == 2) state[1] = cell[w];
              Cell::forward(gate_bias, a, state, gate, new_state);
              next[w] = new_state[0];
              if constexpr (Cell::states == 2) cell_next[w] = new_state[1];
#pragma unroll
              for (int block = 0; block < Cell::first; block++) made[block][w] = gate[block];
            }
            store(after + row * L::S + u, next);
            if constexpr (Cell::states == 2) store(after + row * L::S + n + u, cell_next);
          }
          store(other + row * row_stride + u, next);
          if constexpr (Cell::kept > 0) {
#pragma unroll
            for (int block = 0; block < Cell::first; block++)
              store(gates + row * L::columns + block * n + u, made[block]);
          }
        }
      }
    }
    if constexpr (Cell::second > 0) {
      __syncthreads();  // r h and the gates are complete
      for (int pass = 0; pass < Order::second_passes; pass++) {
        const int unit0 = pass * Order::second_units;
        typename Second::Sums sums;
        begin<Second, n>(second, sums, inputs, D, parameters + L::W_in() + Cell::first * n + unit0,
                         parameters + L::b(D) + Cell::first * n + unit0, L::columns);
        for (int k = 0; k < n; k += DEPTH) second.template multiply<row_stride>(sums, other + k, ring.next());
        if (!second.active) continue;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
          const int row = second.row(i);
#pragma unroll
          for (int part = 0; part < Second::parts; part++) {
            const int u = unit0 + second.unit(part);
            float h[Second::width], g[Second::width], c[Second::width], next[Second::width];
            load(h, now + row * row_stride + u);
            load(g, gates + row * L::columns + Cell::G * n + u);
#pragma unroll
            for (int w = 0; w < Second::width; w++)
              Cell::forward_candidate(sums[i][part][w], g[w], h[w], c[w], next[w]);
            store(gates + row * L::columns + Cell::C * n + u, c);
            store(now + row * row_stride + u, next);
            store(after + row * L::S + u, next);
          }
        }
      }
    } else {
      float* swap = now;
      now = other;
      other = swap;
    }
    states = after;
    inputs += static_cast<size_t>(P) * D;
    if (gate_steps > 1) gates += static_cast<size_t>(P) * L::columns;
  }
}

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
#include "forward.cuh"

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

// Products in float32. States, and r h of the GRU, are rows of n + 4 floats.
template <class Cell, int n, int TRIALS, int ROWS, int LIMIT, int STAGES, int THREADS>
struct FloatForward {
  typedef ForwardOrder<Cell, n, LIMIT, THREADS> Order;
  typedef Tile<TRIALS, ROWS, Order::units, Cell::first> First;
  typedef Tile<TRIALS, ROWS, Order::second_units, Cell::second ? Cell::second : 1> Second;
  static constexpr int trials = TRIALS, passes = Order::passes, units = Order::units;
  static constexpr int second_passes = Order::second_passes, second_units = Order::second_units;
  static constexpr int row_stride = n + PADDING, state_floats = TRIALS * row_stride;
  static constexpr int shared_bytes = 4 * (2 * state_floats + Ring<Order, STAGES>::floats);
  static constexpr int threads = !Cell::second || First::threads > Second::threads ? First::threads : Second::threads;

  float *now, *other;  // h; h of the next step, or r h
  Ring<Order, STAGES> ring;

  __device__ __forceinline__ FloatForward(float* shared, const float* parameters, int T)
      : now(shared), other(shared + state_floats), ring(parameters, shared + 2 * state_floats, T) {}

  __device__ __forceinline__ void start(int row, int u, float h) { now[row * row_stride + u] = h; }
  template <int W>
  __device__ __forceinline__ void own(float (&h)[W], int row, int u, const float* states) const {
    load(h, now + row * row_stride + u);
  }
  template <int W>
  __device__ __forceinline__ void put_now(int row, int u, const float (&h)[W]) {
    store(now + row * row_stride + u, h);
  }
  template <int W>
  __device__ __forceinline__ void put_other(int row, int u, const float (&h)[W]) {
    store(other + row * row_stride + u, h);
  }
  __device__ __forceinline__ void turn() {
    float* swap = now;
    now = other;
    other = swap;
  }
  // sums += h W, and r h W of the second product, for the pass that begins with unit0
  __device__ __forceinline__ void first(const First& owned, typename First::Sums& sums, int unit0) {
    for (int k = 0; k < n; k += DEPTH) owned.template multiply<row_stride>(sums, now + k, ring.next());
  }
  __device__ __forceinline__ void second(const Second& owned, typename Second::Sums& sums, int unit0) {
    for (int k = 0; k < n; k += DEPTH) owned.template multiply<row_stride>(sums, other + k, ring.next());
  }
};

// parameters (N, stride); inputs (N, T, P, D); states (N, T + 1, P, S), states[:, 0] = h0;
// gates (N, gate_steps, P, G n), gate_steps = T, or 1 where nobody will ask for them; status (N,); noisy: whether there
// is noise in `gates` to begin with
template <class Cell, int n, int TRIALS, int ROWS, int LIMIT, int STAGES, int THREADS, int SHARED>
__global__ void __launch_bounds__(THREADS)
    rollout(const float* __restrict__ parameters, const float* __restrict__ inputs, float* states, float* gates,
            const int* __restrict__ status, float gate_bias, int stride, int T, int P, int D, int K, int gate_steps,
            int noisy) {
  typedef Layout<Cell, n> L;
  typedef FloatForward<Cell, n, TRIALS, ROWS, LIMIT, STAGES, THREADS> Products;
  static_assert(THREADS == Products::threads, "THREADS: one for ROWS trials and 8 columns");
  static_assert(SHARED == Products::shared_bytes, "SHARED: two states and the weights");
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const int trial0 = blockIdx.y * TRIALS;
  parameters += network * stride;
  DYNAMIC_SHARED(float, shared);
  Products products(shared, parameters, T);
  all_steps<Cell, n>(products, parameters, inputs + (network * T * P + trial0) * D,
                     states + (network * (T + 1) * P + trial0) * L::S,
                     gates + (network * gate_steps * P + trial0) * L::columns, gate_bias, T, P, D, K, gate_steps,
                     noisy);
}

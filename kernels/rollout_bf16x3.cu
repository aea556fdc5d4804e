// rollout.cu on tensor cores: operands split into two bf16, see tensor.cuh; sums, states and gates in float32.
//
// A block owns TRIALS trials of one network; a warp all of them for 32 columns of a pass. Shared: two states
// (TRIALS, n + 8), each in two planes of bf16. Overwrites `states` and `gates`, all P trials. Deterministic.
#include "forward.cuh"
#include "tensor_product.cuh"

template <class Cell, int n, int TRIALS, int LIMIT>
struct TensorForward {
  static constexpr int trials = TRIALS, passes = passes_of(Cell::first, n, LIMIT), units = n / passes;
  static constexpr int second_passes = Cell::second ? passes_of(Cell::second, n, LIMIT) : 0;
  static constexpr int second_units = Cell::second ? n / second_passes : 32;
  typedef TensorTile<TRIALS, units, Cell::first> First;
  typedef TensorTile<TRIALS, second_units, Cell::second ? Cell::second : 1> Second;
  static constexpr int row_stride = n + TENSOR_PADDING, plane = TRIALS * row_stride, shared_bytes = 2 * 4 * plane;
  static constexpr int threads = !Cell::second || First::threads > Second::threads ? First::threads : Second::threads;

  bf16 *now, *other;  // h; h of the next step, or r h: a high plane, then a low one
  const uint4* fragments;

  __device__ __forceinline__ TensorForward(bf16* shared, const uint4* fragments)
      : now(shared), other(shared + 2 * plane), fragments(fragments) {}

  __device__ __forceinline__ void start(int row, int u, float h) {
    u32 high, low;
    split(h, h, high, low);
    now[row * row_stride + u] = static_cast<bf16>(high);
    now[plane + row * row_stride + u] = static_cast<bf16>(low);
  }
  // In full precision.
  __device__ __forceinline__ void own(float (&h)[2], int row, int u, const float* states) const {
    load(h, states + row * Layout<Cell, n>::S + u);
  }
  __device__ __forceinline__ void put_now(int row, int u, const float (&h)[2]) {
    store_split(now + row * row_stride + u, plane, h);
  }
  __device__ __forceinline__ void put_other(int row, int u, const float (&h)[2]) {
    store_split(other + row * row_stride + u, plane, h);
  }
  __device__ __forceinline__ void turn() {
    bf16* swap = now;
    now = other;
    other = swap;
  }
  __device__ __forceinline__ void first(const First& owned, typename First::Sums& sums, int unit0) {
    owned.template multiply<row_stride, n / 16>(sums, now, plane, fragments, n / 16, unit0, n);
  }
  __device__ __forceinline__ void second(const Second& owned, typename Second::Sums& sums, int unit0) {
    owned.template multiply<row_stride, n / 16>(sums, other, plane, fragments, n / 16, Cell::first * n + unit0, n);
  }
};

// As of `rollout`; fragments (N, G n / 8, n / 16, 32) uint4: W_rec as update.cu leaves it
template <class Cell, int n, int TRIALS, int LIMIT, int THREADS, int SHARED>
__global__ void __launch_bounds__(THREADS)
    rollout_bf16x3(const float* __restrict__ parameters, const uint4* __restrict__ fragments,
                   const float* __restrict__ inputs, float* states, float* gates, const int* __restrict__ status,
                   float gate_bias, int stride, int T, int P, int D, int K, int gate_steps, int noisy) {
  typedef Layout<Cell, n> L;
  typedef TensorForward<Cell, n, TRIALS, LIMIT> Products;
  static_assert(THREADS == Products::threads, "THREADS: a warp for 32 columns");
  static_assert(SHARED == Products::shared_bytes, "SHARED: two states in two planes");
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const int trial0 = blockIdx.y * TRIALS;
  parameters += network * stride;
  DYNAMIC_SHARED(bf16, shared);
  Products products(shared, fragments + network * L::columns * n / 4);
  all_steps<Cell, n>(products, parameters, inputs + (network * T * P + trial0) * D,
                     states + (network * (T + 1) * P + trial0) * L::S,
                     gates + (network * gate_steps * P + trial0) * L::columns, gate_bias, T, P, D, K, gate_steps,
                     noisy);
}

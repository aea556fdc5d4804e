// The way back through time of a whole group: gradients of the loss by every pre-activation.
//
//   dh += e W_out^T;  da = cell backward(dh);  dh = (what passes by) + da W_rec^T
//   GRU: da_c, da_g;  drh = da_c W_c^T;  da_r, dh += drh r;  dh += (da_g, da_r) W_rec^T
//
// A block owns TRIALS trials of one network from the last step to the first; a thread owns ROWS trials times 8 units of
// dh, in registers all the way; only while these hold the GRU's drh does dh wait in the slot where da_r will lie. The
// left operand of the products, da of SLOTS gate blocks at a time, lies in shared memory; where there are more blocks,
// a thread fetches its own part of the rest back from `das`. Weights, transposed, stay in shared memory or stream
// through it as in rollout.cu. Shared: (TRIALS, SLOTS n + 4), STAGES tiles of weights, and where there is one the
// gradient of the cell state (TRIALS, n + 4).
//
// Overwrites `das` and `dh0`. Deterministic: every sum has a fixed order.
#include "backward.cuh"

template <class Cell, int n, int THREADS>
struct BackwardOrder {
  static constexpr int G = gates_of<Cell>(), deep = n / DEPTH, tiles = G * deep, floats = DEPTH * n;

  // Blocks of the second product come first, W_rec^T having the blocks one below the other. A tile is contiguous: all
  // places are a constant away from the first, for which few registers are needed.
  static __device__ __forceinline__ void copy(float* to, const float* transposed, int tile) {
    static_assert(floats % (4 * THREADS) == 0, "each thread copies as much");
    const int block = tile / deep, first = Cell::second ? (block + Cell::first) % G : block;
    to += 4 * threadIdx.x, transposed += (first * deep + tile % deep) * floats + 4 * threadIdx.x;
#pragma unroll
    for (int e = 0; e < floats; e += 4 * THREADS) copy_async(to + e, transposed + e);
  }
};

// Products in float32; the operand's rows are SLOTS n + 4 floats.
template <class Cell, int n, int TRIALS, int ROWS, int SLOTS, int STAGES, int THREADS>
struct FloatBackward {
  typedef Tile<TRIALS, ROWS, n, 1> Owned;
  typedef Ring<BackwardOrder<Cell, n, THREADS>, STAGES> Weights;
  static constexpr int trials = TRIALS, row_stride = SLOTS * n + PADDING, operand_bytes = 4 * TRIALS * row_stride;
  static constexpr int cell_stride = n + PADDING;  // as of the operand: threads' vectors lie in different banks
  static constexpr int cell_bytes = Cell::states == 2 ? 4 * TRIALS * cell_stride : 0;

  float* operand;
  Weights ring;

  __device__ __forceinline__ FloatBackward(float* shared, const float* transposed, int T)
      : operand(shared), ring(transposed, shared + (operand_bytes + cell_bytes) / 4, T) {}

  template <int W>
  __device__ __forceinline__ void put(int slot, int row, int u, const float (&da)[W]) {
    store(operand + row * row_stride + slot * n + u, da);
  }
  // A slot that no product reads for now, as a place where a thread's own numbers wait.
  template <int W>
  __device__ __forceinline__ void park(int slot, int row, int u, const float (&values)[W]) {
    put(slot, row, u, values);
  }
  template <int W>
  __device__ __forceinline__ void unpark(int slot, int row, int u, float (&values)[W]) const {
    load(values, operand + row * row_stride + slot * n + u);
  }
  // sums += da W_rec^T of one block, whose da is in a slot
  __device__ __forceinline__ void multiply(const Owned& owned, typename Owned::Sums& sums, int slot, int block) {
    for (int k = 0; k < n; k += DEPTH) owned.template multiply<row_stride>(sums, operand + slot * n + k, ring.next());
  }
};

// parameters (N, stride); transposed (N, G n, n): W_rec^T; states (N, T + 1, P, S); gates (N, T, P, G n);
// errors (N, T, P, K): gradient by the outputs; das (N, T, P, G n); dh0 (N, P / TRIALS, S): partial sums over trials
template <class Cell, int n, int TRIALS, int ROWS, int SLOTS, int STAGES, int THREADS, int SHARED>
// The least number of blocks beside each other decides how many registers there are; 0: as the compiler chooses. Four
// gates leave room for few blocks in shared memory: registers need not be saved for more.
__global__ void __launch_bounds__(THREADS, n < 128 && gates_of<Cell>() < 4 ? 0 : 1)
    backward(const float* __restrict__ parameters, const float* __restrict__ transposed,
             const float* __restrict__ states, const float* __restrict__ gates, const float* __restrict__ errors,
             float* das, float* __restrict__ dh0, const int* __restrict__ status, int stride, int T, int P, int D,
             int K, float gate_bias) {
  typedef Layout<Cell, n> L;
  typedef FloatBackward<Cell, n, TRIALS, ROWS, SLOTS, STAGES, THREADS> Products;
  static_assert(THREADS == Products::Owned::threads, "THREADS: one for ROWS trials and 8 units");
  static_assert(SHARED == Products::operand_bytes + Products::cell_bytes + 4 * Products::Weights::floats,
                "SHARED: operand, dcell and weights");
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const size_t row = network * T * P + static_cast<size_t>(T) * P + blockIdx.y * TRIALS;  // behind the last step
  DYNAMIC_SHARED(float, shared);
  Products products(shared, transposed + network * L::columns * n, T);
  all_steps_back<Cell, n, SLOTS>(products, parameters + network * stride, states + (row + network * P) * L::S,
                                 gates + row * L::columns, errors + row * K, das + row * L::columns,
                                 dh0 + (network * gridDim.y + blockIdx.y) * L::S, shared + Products::operand_bytes / 4,
                                 shared, gate_bias, T, P, D, K);
}

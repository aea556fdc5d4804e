// backward.cu on tensor cores: operands split into two bf16, see tensor.cuh; sums, gates and gradients in float32.
//
// A block owns TRIALS trials of one network; a warp all of them for 32 units of dh, in registers all the way. Shared:
// da of SLOTS blocks (TRIALS, SLOTS n + 8) in two planes of bf16, and where there is one the gradient of the cell
// state (TRIALS, n + 8). Overwrites `das` and `dh0`. Deterministic.
#include "backward.cuh"
#include "tensor_product.cuh"

template <class Cell, int n, int TRIALS, int SLOTS>
struct TensorBackward {
  typedef TensorTile<TRIALS, n, 1> Owned;
  static constexpr int trials = TRIALS, row_stride = SLOTS * n + TENSOR_PADDING, plane = TRIALS * row_stride;
  static constexpr int operand_bytes = 4 * plane;
  static constexpr int cell_stride = n + TENSOR_PADDING;  // floats: pairs of half a warp lie in different banks
  static constexpr int cell_bytes = Cell::states == 2 ? 4 * TRIALS * cell_stride : 0;

  bf16* operand;  // a high plane, then a low one
  const uint4* fragments;

  __device__ __forceinline__ TensorBackward(bf16* shared, const uint4* fragments)
      : operand(shared), fragments(fragments) {}

  __device__ __forceinline__ void put(int slot, int row, int u, const float (&da)[2]) {
    store_split(operand + row * row_stride + slot * n + u, plane, da);
  }
  // As of FloatBackward: one of two neighbours, whole, in each plane.
  __device__ __forceinline__ void park(int slot, int row, int u, const float (&values)[2]) {
    bf16* place = operand + row * row_stride + slot * n + u;
    *reinterpret_cast<u32*>(place) = __float_as_uint(values[0]);
    *reinterpret_cast<u32*>(place + plane) = __float_as_uint(values[1]);
  }
  __device__ __forceinline__ void unpark(int slot, int row, int u, float (&values)[2]) const {
    const bf16* place = operand + row * row_stride + slot * n + u;
    values[0] = __uint_as_float(*reinterpret_cast<const u32*>(place));
    values[1] = __uint_as_float(*reinterpret_cast<const u32*>(place + plane));
  }
  __device__ __forceinline__ void multiply(const Owned& owned, typename Owned::Sums& sums, int slot, int block) {
    constexpr int deep = Layout<Cell, n>::columns / 16;
    owned.template multiply<row_stride, n / 16>(sums, operand + slot * n, plane, fragments + block * (n / 16) * 32,
                                                deep, 0, n);
  }
};

// As of `backward`; fragments (N, n / 8, G n / 16, 32) uint4: W_rec^T as update.cu leaves it
template <class Cell, int n, int TRIALS, int SLOTS, int THREADS, int SHARED>
__global__ void __launch_bounds__(THREADS)
    backward_bf16x3(const float* __restrict__ parameters, const uint4* __restrict__ fragments,
                    const float* __restrict__ states, const float* __restrict__ gates,
                    const float* __restrict__ errors, float* das, float* __restrict__ dh0,
                    const int* __restrict__ status, int stride, int T, int P, int D, int K, float gate_bias) {
  typedef Layout<Cell, n> L;
  typedef TensorBackward<Cell, n, TRIALS, SLOTS> Products;
  static_assert(THREADS == Products::Owned::threads, "THREADS: a warp for 32 units");
  static_assert(SHARED == Products::operand_bytes + Products::cell_bytes, "SHARED: operand and dcell");
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const size_t row = network * T * P + static_cast<size_t>(T) * P + blockIdx.y * TRIALS;  // behind the last step
  DYNAMIC_SHARED(float, shared);
  Products products(reinterpret_cast<bf16*>(shared), fragments + network * L::columns * n / 4);
  all_steps_back<Cell, n, SLOTS>(products, parameters + network * stride, states + (row + network * P) * L::S,
                                 gates + row * L::columns, errors + row * K, das + row * L::columns,
                                 dh0 + (network * gridDim.y + blockIdx.y) * L::S, shared + Products::operand_bytes / 4,
                                 shared, gate_bias, T, P, D, K);
}

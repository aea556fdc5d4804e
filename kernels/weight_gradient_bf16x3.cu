// weight_gradient.cu on tensor cores: operands split into two bf16, see tensor.cuh; sums in float32.
//
//   dW (n + D + 1, G n) = (h | x | 1)^T da        (GRU, block c: r h in place of h)
//
// A block owns one slice of the steps of one network and a tile (EDGE, EDGE), a warp (32, EDGE / 2) of it. Tiles of
// LENGTH rows (step, trial) are split on their way from registers into shared memory, one being filled while the other
// is used. Tensor cores cut their sums, and over thousands of steps errors of one sign would add up: they sum one tile
// only, and an ordinary addition, which rounds, adds it to the rest. The rows of x and 1 are float32 throughout: in the
// blocks of the first tile row each thread adds them up for the four columns of da that it fetches. Overwrites W_rec,
// W_in and b of a slice of `gradients`. Deterministic.
// Shared: two tiles of either operand in two parts, rows EDGE + 8 long, so that no two rows of a fragment share a bank.
#include "tensor.cuh"
#include "weight_gradient.cuh"

constexpr int TENSOR_LENGTH = 16;

// states (N, T + 1, P, S); inputs (N, T, P, D); gates, das (N, T, P, G n); gradients (N, slices, stride)
template <class Cell, int n, int EDGE, int D, int THREADS, int SHARED>
__global__ void __launch_bounds__(THREADS)
    weight_gradient_bf16x3(const float* __restrict__ states, const float* __restrict__ inputs,
                           const float* __restrict__ gates, const float* __restrict__ das,
                           float* __restrict__ gradients, const int* __restrict__ status, int stride, int T, int P,
                           int slices) {
  typedef Layout<Cell, n> L;
  constexpr int row_stride = EDGE + 8, plane = TENSOR_LENGTH * row_stride, tile_size = 4 * plane;  // in bf16
  constexpr int rows_apart = THREADS / (EDGE / 4), per_thread = TENSOR_LENGTH / rows_apart;
  constexpr int rows = D + 1, columns8 = EDGE / 2 / 8;  // of x and 1; tiles of 8 columns of a warp
  static_assert(n % EDGE == 0 && EDGE % 64 == 0, "EDGE: 64 or 128, and divides n");
  static_assert(THREADS == 2 * EDGE, "THREADS: a warp for (32, EDGE / 2)");
  static_assert(SHARED == 2 * 2 * tile_size, "SHARED: two tiles of both operands in two parts");

  if (status[GradientTile<Cell, n, EDGE>::network()] != TRAINING) return;
  const GradientTile<Cell, n, EDGE> at(states, inputs, gates, das, gradients, stride, T, P, D, slices);

  DYNAMIC_SHARED(bf16, shared);
  const int column = threadIdx.x % (EDGE / 4) * 4, row0 = threadIdx.x / (EDGE / 4);
  float left[per_thread][4], right[per_thread][4], extra[rows][4] = {};

  const auto fetch = [&](int start) {
#pragma unroll
    for (int j = 0; j < per_thread; j++) {
      const size_t row = start + row0 + j * rows_apart;
      load(left[j], at.states + row * L::S + column);
      load(right[j], at.das + row * L::columns + column);
      if constexpr (Cell::second > 0)
        if (at.through_reset) {
          float reset[4];
          load(reset, at.gates + row * L::columns + column);
          for (int w = 0; w < 4; w++) left[j][w] *= reset[w];
        }
      if (at.first_row)
#pragma unroll
        for (int d = 0; d < rows; d++) {
          const float x = d < D ? at.inputs[row * D + d] : 1.0f;
#pragma unroll
          for (int w = 0; w < 4; w++) extra[d][w] = fmaf(x, right[j][w], extra[d][w]);
        }
    }
  };
  const auto put = [&](bf16* tile) {
#pragma unroll
    for (int j = 0; j < per_thread; j++) {
      bf16* place = tile + (row0 + j * rows_apart) * row_stride + column;
#pragma unroll
      for (int w = 0; w < 4; w += 2) {
        u32 high, low;
        split(left[j][w], left[j][w + 1], high, low);
        *reinterpret_cast<u32*>(place + w) = high;
        *reinterpret_cast<u32*>(place + plane + w) = low;
        split(right[j][w], right[j][w + 1], high, low);
        *reinterpret_cast<u32*>(place + 2 * plane + w) = high;
        *reinterpret_cast<u32*>(place + 3 * plane + w) = low;
      }
    }
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_row = warp / 2 * 32, warp_column = warp % 2 * (EDGE / 2);
  // A^T lies row by row, (step, unit), as B does: both are read transposed. Matrices of A: k, then units 8 to 15;
  // of B: k 8 to 15, then the next 8 columns.
  const int left_place = (lane % 8 + lane / 16 * 8) * row_stride + warp_row + lane / 8 % 2 * 8;
  const int right_place = 2 * plane + (lane % 16) * row_stride + warp_column + lane / 16 * 8;

  float sums[2][columns8][4] = {};
  fetch(0);
  put(shared);
  __syncthreads();
  for (int start = 0, use = 0; start < at.count; start += TENSOR_LENGTH, use ^= 1) {
    const bool more = start + TENSOR_LENGTH < at.count;
    if (more) fetch(start + TENSOR_LENGTH);
    const bf16* tile = shared + use * tile_size;
    u32 a_high[2][4], a_low[2][4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      load_fragments_transposed(a_high[i], tile + left_place + 16 * i);
      load_fragments_transposed(a_low[i], tile + plane + left_place + 16 * i);
    }
#pragma unroll
    for (int j = 0; j < columns8; j += 2) {
      u32 high[4], low[4];
      load_fragments_transposed(high, tile + right_place + 8 * j);
      load_fragments_transposed(low, tile + plane + right_place + 8 * j);
#pragma unroll
      for (int part = 0; part < 2; part++) {
        const u32 b_high[2] = {high[2 * part], high[2 * part + 1]}, b_low[2] = {low[2 * part], low[2 * part + 1]};
#pragma unroll
        for (int i = 0; i < 2; i++) {
          float step[4] = {};
          multiply_add_split(step, a_high[i], a_low[i], b_high, b_low);
#pragma unroll
          for (int e = 0; e < 4; e++) sums[i][j + part][e] += step[e];
        }
      }
    }
    if (more) put(shared + (use ^ 1) * tile_size);
    __syncthreads();
  }

  float* const to = at.gradients;
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < columns8; j++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int u = at.unit0 + warp_row + 16 * i + lane / 4 + 8 * half;
        const float pair[2] = {sums[i][j][2 * half], sums[i][j][2 * half + 1]};
        store(to + u * L::columns + warp_column + 8 * j + lane % 4 * 2, pair);
      }
  if (at.first_row) {  // sums over the threads that fetched the same columns, in order
    float* partial = reinterpret_cast<float*>(shared);  // (rows_apart, EDGE), a row of x or 1 after the other
    for (int d = 0; d < rows; d++) {
      store(partial + row0 * EDGE + column, extra[d]);
      __syncthreads();
      for (int c = threadIdx.x; c < EDGE; c += THREADS) {
        float sum = 0.0f;
        for (int row = 0; row < rows_apart; row++) sum += partial[row * EDGE + c];
        to[(n + d) * L::columns + c] = sum;
      }
      __syncthreads();
    }
  }
}

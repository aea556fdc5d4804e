// The way back through time of a whole group: gradients of the loss by every pre-activation.
//
//   dh += e W_out^T;  da = cell backward(dh);  dh = (what passes by) + da W_rec^T
//   GRU: da_c, da_g;  drh = da_c W_c^T;  da_r, dh += drh r;  dh += (da_g, da_r) W_rec^T
//
// A block owns TRIALS trials of one network from the last step to the first; a thread owns ROWS trials times 8 units of
// dh, in registers all the way. The left operand of the products, da of SLOTS gate blocks at a time, lies in shared
// memory; where there are more blocks, a thread fetches its own part of the rest back from `das`. Weights, transposed,
// stay in shared memory or stream through it as in rollout.cu. Shared: (TRIALS, SLOTS n + 4), STAGES tiles of weights,
// and for the LSTM the gradient of the cell state (TRIALS, n).
//
// Overwrites `das` and `dh0`. Deterministic: every sum has a fixed order.
#include "layout.cuh"
#include "product.cuh"

template <class Cell, int n, int THREADS>
struct BackwardOrder {
  static constexpr int G = gates_of<Cell>(), deep = n / DEPTH, tiles = G * deep, floats = DEPTH * n;

  // Blocks of the second product come first, W_rec^T having the blocks one below the other.
  static __device__ __forceinline__ void copy(float* to, const float* transposed, int tile) {
    const int block = tile / deep, first = Cell::second ? (block + Cell::first) % G : block;
    copy_tile<n, n, THREADS>(to, transposed + (first * deep + tile % deep) * floats, n, 0);
  }
};

// parameters (N, stride); transposed (N, G n, n): W_rec^T; states (N, T + 1, P, S); gates (N, T, P, G n);
// errors (N, T, P, K): gradient by the outputs; das (N, T, P, G n); dh0 (N, P / TRIALS, S): partial sums over trials
template <class Cell, int n, int TRIALS, int ROWS, int SLOTS, int STAGES, int THREADS, int SHARED>
__global__ void __launch_bounds__(THREADS)
    backward(const float* __restrict__ parameters, const float* __restrict__ transposed,
             const float* __restrict__ states, const float* __restrict__ gates, const float* __restrict__ errors,
             float* das, float* __restrict__ dh0, const int* __restrict__ status, int stride, int T, int P, int D,
             int K) {
  typedef Layout<Cell, n> L;
  typedef BackwardOrder<Cell, n, THREADS> Order;
  typedef Tile<TRIALS, ROWS, n, 1> Owned;
  typedef Ring<Order, STAGES> Weights;
  constexpr int G = L::G, row_stride = SLOTS * n + PADDING, operand_floats = TRIALS * row_stride;
  constexpr int cell_floats = Cell::states == 2 ? TRIALS * n : 0;
  static_assert(THREADS == Owned::threads, "THREADS: one for ROWS trials and 8 units");
  static_assert(SHARED == 4 * (operand_floats + cell_floats + Weights::floats), "SHARED: operand, dcell and weights");
  static_assert(SLOTS >= 1 && SLOTS <= G && (!Cell::second || SLOTS >= Cell::first), "SLOTS: of one product's blocks");

  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const int trial0 = blockIdx.y * TRIALS;
  parameters += network * stride;
  const float* W_out = parameters + L::W_out(D);
  // behind the last step
  states += (network * (T + 1) * P + static_cast<size_t>(T) * P + trial0) * L::S;
  gates += (network * T * P + static_cast<size_t>(T) * P + trial0) * L::columns;
  das += (network * T * P + static_cast<size_t>(T) * P + trial0) * L::columns;
  errors += (network * T * P + static_cast<size_t>(T) * P + trial0) * K;

  DYNAMIC_SHARED(float, shared);
  float* operand = shared;
  float* dcell = shared + operand_floats;  // each thread its own part only
  Weights ring(transposed + network * L::columns * n, shared + operand_floats + cell_floats, T);

  const Owned owned;
  typename Owned::Sums dh;
#pragma unroll
  for (int i = 0; i < ROWS; i++)
#pragma unroll
    for (int part = 0; part < 2; part++)
#pragma unroll
      for (int w = 0; w < 4; w++) {
        dh[i][part][w] = 0.0f;
        if constexpr (Cell::states == 2) dcell[owned.row(i) * n + owned.unit(part) + w] = 0.0f;
      }

  // sums += da W_rec^T over blocks [begin, end), of which the first SLOTS are in the operand already.
  const auto multiply = [&](typename Owned::Sums& sums, int begin, int end) {
    for (int first = begin; first < end; first += SLOTS) {
      const int last = first + SLOTS < end ? first + SLOTS : end;
      if (first > begin) {
        __syncthreads();  // the blocks before are used up
        for (int block = first; block < last; block++)
#pragma unroll
          for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int part = 0; part < 2; part++) {
              float da[4];
              load(da, das + owned.row(i) * L::columns + block * n + owned.unit(part));
              store(operand + owned.row(i) * row_stride + (block - first) * n + owned.unit(part), da);
            }
      }
      __syncthreads();  // the operand is complete
      for (int k = 0; k < (last - first) * n; k += DEPTH)
        owned.template multiply<row_stride>(sums, operand + k, ring.next());
    }
    __syncthreads();  // and used up
  };

  for (int t = T - 1; t >= 0; t--) {
    const float* after = states;
    states -= static_cast<size_t>(P) * L::S;  // before the step
    if constexpr (Cell::kept > 0) gates -= static_cast<size_t>(P) * L::columns;
    das -= static_cast<size_t>(P) * L::columns;
    errors -= static_cast<size_t>(P) * K;

    // y = h W_out + b_out
    for (int k = 0; k < K; k++) {
      float right[2][4];
#pragma unroll
      for (int part = 0; part < 2; part++)
#pragma unroll
        for (int w = 0; w < 4; w++) right[part][w] = W_out[(owned.unit(part) + w) * K + k];
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
        const float left = errors[owned.row(i) * K + k];
#pragma unroll
        for (int part = 0; part < 2; part++)
#pragma unroll
          for (int w = 0; w < 4; w++) dh[i][part][w] = fmaf(left, right[part][w], dh[i][part][w]);
      }
    }

    if constexpr (Cell::second == 0) {
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int part = 0; part < 2; part++) {
          const int row = owned.row(i), u = owned.unit(part);
          float gate[G][4], before[Cell::states][4], next[Cell::states][4], da[G][4];
          if constexpr (Cell::kept > 0) {
#pragma unroll
            for (int block = 0; block < G; block++) load(gate[block], gates + row * L::columns + block * n + u);
          }
#pragma unroll
          for (int s = 0; s < Cell::states; s++) {
            load(before[s], states + row * L::S + s * n + u);
            load(next[s], after + row * L::S + s * n + u);
          }
#pragma unroll
          for (int w = 0; w < 4; w++) {
            float g[G], b[Cell::states], a[Cell::states], d[Cell::states], made[G], passed[Cell::states];
#pragma unroll
            for (int block = 0; block < G; block++) g[block] = Cell::kept > 0 ? gate[block][w] : 0.0f;
#pragma unroll
            for (int s = 0; s < Cell::states; s++) b[s] = before[s][w], a[s] = next[s][w];
            d[0] = dh[i][part][w];
            if constexpr (Cell::states == 2) d[1] = dcell[row * n + u + w];
            Cell::backward(g, b, a, d, made, passed);
            dh[i][part][w] = passed[0];
            if constexpr (Cell::states == 2) dcell[row * n + u + w] = passed[1];
#pragma unroll
            for (int block = 0; block < G; block++) da[block][w] = made[block];
          }
#pragma unroll
          for (int block = 0; block < G; block++) {
            store(das + row * L::columns + block * n + u, da[block]);
            if (block < SLOTS) store(operand + row * row_stride + block * n + u, da[block]);
          }
        }
      }
      multiply(dh, 0, G);
    } else {
      typename Owned::Sums drh;
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int part = 0; part < 2; part++) {
          const int row = owned.row(i), u = owned.unit(part);
          float g[4], c[4], h[4], da_c[4], da_g[4];
          load(g, gates + row * L::columns + Cell::G * n + u);
          load(c, gates + row * L::columns + Cell::C * n + u);
          load(h, states + row * L::S + u);
#pragma unroll
          for (int w = 0; w < 4; w++) {
            Cell::backward_candidate(g[w], c[w], h[w], dh[i][part][w], da_c[w], da_g[w], dh[i][part][w]);
            drh[i][part][w] = 0.0f;
          }
          store(das + row * L::columns + Cell::G * n + u, da_g);
          store(das + row * L::columns + Cell::C * n + u, da_c);
          store(operand + row * row_stride + u, da_c);
        }
      }
      multiply(drh, Cell::first, G);
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int part = 0; part < 2; part++) {
          const int row = owned.row(i), u = owned.unit(part);
          float r[4], h[4], da_g[4], da_r[4];
          load(r, gates + row * L::columns + Cell::R * n + u);
          load(h, states + row * L::S + u);
          load(da_g, das + row * L::columns + Cell::G * n + u);
#pragma unroll
          for (int w = 0; w < 4; w++)
            Cell::backward_gates(r[w], h[w], drh[i][part][w], da_r[w], dh[i][part][w]);
          store(das + row * L::columns + Cell::R * n + u, da_r);
          store(operand + row * row_stride + Cell::G * n + u, da_g);
          store(operand + row * row_stride + Cell::R * n + u, da_r);
        }
      }
      multiply(dh, 0, Cell::first);
    }
  }

  // h(0) = h0 in every trial: sums over the block's trials, row by row
  dh0 += (network * gridDim.y + blockIdx.y) * L::S;
#pragma unroll
  for (int i = 0; i < ROWS; i++)
#pragma unroll
    for (int part = 0; part < 2; part++) store(operand + owned.row(i) * row_stride + owned.unit(part), dh[i][part]);
  __syncthreads();
  for (int u = threadIdx.x; u < L::S; u += THREADS) {
    float sum = 0.0f;
    for (int row = 0; row < TRIALS; row++) sum += u < n ? operand[row * row_stride + u] : dcell[row * n + u - n];
    dh0[u] = sum;
  }
}

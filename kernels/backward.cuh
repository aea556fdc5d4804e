// The steps of backward.cu and backward_bf16x3.cu, which differ in their products alone.
#pragma once

#include "layout.cuh"
#include "product.cuh"

// All steps of a tile of trials, last to first, with `products` for what depends on the precision: see FloatBackward.
//
// parameters of the network; states, gates, errors, das of its first trial in the tile, behind the last step;
// dh0 of the tile; dcell, last (TRIALS, n) in shared memory, rows Products::cell_stride apart: each thread its own part
// of the first; the second for the sums over trials at the end, where the operand of the products lay
template <class Cell, int n, int SLOTS, class Products>
__device__ __forceinline__ void all_steps_back(Products& products, const float* parameters, const float* states,
                                               const float* gates, const float* errors, float* das, float* dh0,
                                               float* dcell, float* last, float gate_bias, int T, int P, int D,
                                               int K) {
  typedef Layout<Cell, n> L;
  typedef typename Products::Owned Owned;
  constexpr int G = L::G, W = Owned::width, cell_stride = Products::cell_stride;
  static_assert(SLOTS >= 1 && SLOTS <= G && (!Cell::second || SLOTS >= Cell::first), "SLOTS: of one product's blocks");
  const float* W_out = parameters + L::W_out(D);
  const Owned owned;
  typename Owned::Sums dh;
#pragma unroll
  for (int i = 0; i < Owned::rows; i++)
#pragma unroll
    for (int part = 0; part < Owned::vectors; part++) {
#pragma unroll
      for (int w = 0; w < W; w++) dh[i][part][w] = 0.0f;
      if constexpr (Cell::states == 2) store(dcell + owned.row(i) * cell_stride + owned.unit(part), dh[i][part]);
    }

  // sums += da W_rec^T over blocks [begin, end), of which the first SLOTS are in the operand already.
  const auto multiply = [&](typename Owned::Sums& sums, int begin, int end) {
    for (int first = begin; first < end; first += SLOTS) {
      const int last = first + SLOTS < end ? first + SLOTS : end;
      if (first > begin) {
        __syncthreads();  // the blocks before are used up
        for (int block = first; block < last; block++)
#pragma unroll
          for (int i = 0; i < Owned::rows; i++)
#pragma unroll
            for (int part = 0; part < Owned::vectors; part++) {
              float da[W];
              load(da, das + owned.row(i) * L::columns + block * n + owned.unit(part));
              products.put(block - first, owned.row(i), owned.unit(part), da);
            }
      }
      __syncthreads();  // the operand is complete
      for (int block = first; block < last; block++) products.multiply(owned, sums, block - first, block);
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
      float right[Owned::vectors][W];
#pragma unroll
      for (int part = 0; part < Owned::vectors; part++)
#pragma unroll
        for (int w = 0; w < W; w++) right[part][w] = W_out[(owned.unit(part) + w) * K + k];
#pragma unroll
      for (int i = 0; i < Owned::rows; i++) {
        const float left = errors[owned.row(i) * K + k];
#pragma unroll
        for (int part = 0; part < Owned::vectors; part++)
#pragma unroll
          for (int w = 0; w < W; w++) dh[i][part][w] = fmaf(left, right[part][w], dh[i][part][w]);
      }
    }

    if constexpr (Cell::second == 0) {
#pragma unroll
      for (int i = 0; i < Owned::rows; i++) {
#pragma unroll
        for (int part = 0; part < Owned::vectors; part++) {
          const int row = owned.row(i), u = owned.unit(part);
          float gate[G][W], before[Cell::states][W], next[Cell::states][W], da[G][W];
          [[maybe_unused]] float dc[W];  // of dcell
          if constexpr (Cell::kept > 0) {
#pragma unroll
            for (int block = 0; block < G; block++) load(gate[block], gates + row * L::columns + block * n + u);
          }
#pragma unroll
          for (int s = 0; s < Cell::states; s++) {
            load(before[s], states + row * L::S + s * n + u);
            load(next[s], after + row * L::S + s * n + u);
          }
          if constexpr (Cell::states == 2) load(dc, dcell + row * cell_stride + u);
#pragma unroll
          for (int w = 0; w < W; w++) {
            float g[G], b[Cell::states], a[Cell::states], d[Cell::states], made[G], passed[Cell::states];
#pragma unroll
            for (int block = 0; block < G; block++) g[block] = Cell::kept > 0 ? gate[block][w] : 0.0f;
#pragma unroll
            for (int s = 0; s < Cell::states; s++) b[s] = before[s][w], a[s] = next[s][w];
            d[0] = dh[i][part][w];
            if constexpr (Cell::states == 2) d[1] = dc[w];
            Cell::backward(gate_bias, g, b, a, d, made, passed);
            dh[i][part][w] = passed[0];
            if constexpr (Cell::states == 2) dc[w] = passed[1];
#pragma unroll
            for (int block = 0; block < G; block++) da[block][w] = made[block];
          }
          if constexpr (Cell::states == 2) store(dcell + row * cell_stride + u, dc);
#pragma unroll
          for (int block = 0; block < G; block++) {
            store(das + row * L::columns + block * n + u, da[block]);
            if (block < SLOTS) products.put(block, row, u, da[block]);
          }
        }
      }
      multiply(dh, 0, G);
    } else {
      typename Owned::Sums drh;
#pragma unroll
      for (int i = 0; i < Owned::rows; i++) {
#pragma unroll
        for (int part = 0; part < Owned::vectors; part++) {
          const int row = owned.row(i), u = owned.unit(part);
          float g[W], c[W], h[W], da_c[W], da_g[W], passed[W];
          load(g, gates + row * L::columns + Cell::G * n + u);
          load(c, gates + row * L::columns + Cell::C * n + u);
          load(h, states + row * L::S + u);
#pragma unroll
          for (int w = 0; w < W; w++) {
            Cell::backward_candidate(g[w], c[w], h[w], dh[i][part][w], da_c[w], da_g[w], passed[w]);
            drh[i][part][w] = 0.0f;
          }
          store(das + row * L::columns + Cell::G * n + u, da_g);
          store(das + row * L::columns + Cell::C * n + u, da_c);
          products.put(0, row, u, da_c);
          products.park(Cell::R, row, u, passed);  // until da_r takes its place
        }
      }
      multiply(drh, Cell::first, G);
#pragma unroll
      for (int i = 0; i < Owned::rows; i++) {
#pragma unroll
        for (int part = 0; part < Owned::vectors; part++) {
          const int row = owned.row(i), u = owned.unit(part);
          float r[W], h[W], da_g[W], da_r[W];
          load(r, gates + row * L::columns + Cell::R * n + u);
          load(h, states + row * L::S + u);
          load(da_g, das + row * L::columns + Cell::G * n + u);
          products.unpark(Cell::R, row, u, dh[i][part]);
#pragma unroll
          for (int w = 0; w < W; w++)
            Cell::backward_gates(r[w], h[w], drh[i][part][w], da_r[w], dh[i][part][w]);
          store(das + row * L::columns + Cell::R * n + u, da_r);
          products.put(Cell::G, row, u, da_g);
          products.put(Cell::R, row, u, da_r);
        }
      }
      multiply(dh, 0, Cell::first);
    }
  }

  // h(0) = h0 in every trial: sums over the block's trials, row by row
#pragma unroll
  for (int i = 0; i < Owned::rows; i++)
#pragma unroll
    for (int part = 0; part < Owned::vectors; part++)
      store(last + owned.row(i) * cell_stride + owned.unit(part), dh[i][part]);
  __syncthreads();
  for (int u = threadIdx.x; u < L::S; u += blockDim.x) {
    float sum = 0.0f;
    for (int row = 0; row < Products::trials; row++)
      sum += u < n ? last[row * cell_stride + u] : dcell[row * cell_stride + u - n];
    dh0[u] = sum;
  }
}

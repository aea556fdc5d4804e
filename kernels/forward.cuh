// The steps of rollout.cu and rollout_bf16x3.cu, which differ in their products alone.
#pragma once

#include "layout.cuh"
#include "product.cuh"

// sums = b + x W_in for a thread's rows and columns. x: row 0 of the tile's inputs (TRIALS, D); weights, bias: of the
// thread's first block and unit 0 of the pass.
template <class Owned, int n>
__device__ __forceinline__ void begin(const Owned& owned, typename Owned::Sums& sums, const float* x, int D,
                                      const float* W_in, const float* bias, int columns) {
  if (!owned.active) return;
  constexpr int rows = Owned::rows;
  const auto column = [&](int v) { return v % Owned::blocks * n + owned.unit(v / Owned::blocks); };
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

// All steps of a tile of trials, with `products` for what depends on the precision: see FloatForward.
//
// parameters of the network; inputs, states and gates of its first trial in the tile. Where `noisy`, the noise of the
// pre-activations lies in the gates before they do.
template <class Cell, int n, class Products>
__device__ __forceinline__ void all_steps(Products& products, const float* parameters, const float* inputs,
                                          float* states, float* gates, float gate_bias, int T, int P, int D, int K,
                                          int gate_steps, int noisy) {
  typedef Layout<Cell, n> L;
  typedef typename Products::First First;
  typedef typename Products::Second Second;
  const float* h0 = parameters + L::h0(D, K);
  for (int e = threadIdx.x; e < Products::trials * L::S; e += blockDim.x) {
    const int row = e / L::S, u = e % L::S;
    states[e] = h0[u];
    if (u < n) products.start(row, u, h0[u]);
  }

  const First first;
  const Second second;
  for (int t = 0; t < T; t++) {
    __syncthreads();  // h is complete
    float* after = states + static_cast<size_t>(P) * L::S;
    for (int pass = 0; pass < Products::passes; pass++) {
      const int unit0 = pass * Products::units;
      typename First::Sums sums;
      begin<First, n>(first, sums, inputs, D, parameters + L::W_in() + unit0, parameters + L::b(D) + unit0, L::columns);
      products.first(first, sums, unit0);
      if (!first.active) continue;
#pragma unroll
      for (int i = 0; i < First::rows; i++) {
        const int row = first.row(i);
#pragma unroll
        for (int part = 0; part < First::parts; part++) {
          const int u = unit0 + first.unit(part);
          float h[First::width], made[Cell::first][First::width], next[First::width];
          products.own(h, row, u, states);
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
            float cell[First::width], cell_next[First::width], noise[First::width];
            if constexpr (Cell::states == 2) load(cell, states + row * L::S + n + u);
            if constexpr (Cell::noisy) {
              static_assert(Cell::first == 1, "a block for the noise of each unit");
              if (noisy) {
                load(noise, gates + row * L::columns + u);
#pragma unroll
                for (int w = 0; w < First::width; w++) sums[i][part][w] += noise[w];
              }
            }
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
          products.put_other(row, u, next);
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
      for (int pass = 0; pass < Products::second_passes; pass++) {
        const int unit0 = pass * Products::second_units;
        typename Second::Sums sums;
        begin<Second, n>(second, sums, inputs, D, parameters + L::W_in() + Cell::first * n + unit0,
                         parameters + L::b(D) + Cell::first * n + unit0, L::columns);
        products.second(second, sums, unit0);
        if (!second.active) continue;
#pragma unroll
        for (int i = 0; i < Second::rows; i++) {
          const int row = second.row(i);
#pragma unroll
          for (int part = 0; part < Second::parts; part++) {
            const int u = unit0 + second.unit(part);
            float h[Second::width], g[Second::width], c[Second::width], next[Second::width];
            products.own(h, row, u, states);
            load(g, gates + row * L::columns + Cell::G * n + u);
#pragma unroll
            for (int w = 0; w < Second::width; w++)
              Cell::forward_candidate(sums[i][part][w], g[w], h[w], c[w], next[w]);
            store(gates + row * L::columns + Cell::C * n + u, c);
            products.put_now(row, u, next);
            store(after + row * L::S + u, next);
          }
        }
      }
    } else {
      products.turn();
    }
    states = after;
    inputs += static_cast<size_t>(P) * D;
    if (gate_steps > 1) gates += static_cast<size_t>(P) * L::columns;
  }
}

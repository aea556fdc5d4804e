// What weight_gradient.cu and weight_gradient_bf16x3.cu have in common: where a block works.
#pragma once

#include "layout.cuh"
#include "common.cuh"

// One slice of the steps of one network, and a tile (EDGE, EDGE) of the rows of h and the columns of one gate block.
//
// states (N, T + 1, P, S), inputs (N, T, P, D), gates, das (N, T, P, G n) and gradients (N, slices, stride) become
// pointers to the first row (step, trial) of the slice and to the tile: its units of the state before each step, x, its
// units of the reset gate, its columns of da, and its columns in row 0 of the slice's gradient.
template <class Cell, int n, int EDGE>
struct GradientTile {
  typedef Layout<Cell, n> L;
  static constexpr int tiles = (n / EDGE) * (L::columns / EDGE);
  const float *states, *inputs, *gates = nullptr, *das;
  float* gradients;
  int count, unit0;     // rows of the slice; first unit of the tile
  bool first_row;       // whether the rows of x and 1 fall to this block
  bool through_reset;   // r h stands in place of h

  // The tiles of one network are neighbours: they read the same rows at about the same time, from the cache.
  static __device__ __forceinline__ int network() { return blockIdx.x / tiles; }

  __device__ __forceinline__ GradientTile(const float* states, const float* inputs, const float* gates,
                                          const float* das, float* gradients, int stride, int T, int P, int D,
                                          int slices) {
    const size_t network = this->network();
    const int tile = blockIdx.x % tiles, slice = blockIdx.y;
    const int tile_row = tile % (n / EDGE), column0 = tile / (n / EDGE) * EDGE;
    const size_t step0 = static_cast<long long>(slice) * T / slices;
    count = (static_cast<long long>(slice + 1) * T / slices - step0) * P;
    unit0 = tile_row * EDGE;
    first_row = tile_row == 0;
    through_reset = Cell::second > 0 && column0 >= Cell::first * n;
    this->states = states + (network * (T + 1) + step0) * P * L::S + unit0;
    this->inputs = inputs + (network * T + step0) * P * D;
    this->das = das + (network * T + step0) * P * L::columns + column0;
    this->gradients = gradients + (network * slices + slice) * stride + column0;
    if constexpr (Cell::second > 0)
      this->gates = gates + (network * T + step0) * P * L::columns + Cell::R * n + unit0;
  }
};

// product.cuh on tensor cores: C (trials, columns) += A (trials, depth) W (depth, columns), A in shared memory as two
// planes of bf16, W split in fragment order straight from the second-level cache: each fragment is used by one warp.
#pragma once

#include "tensor.cuh"

constexpr int TENSOR_PADDING = 8;  // bf16 behind each row of A: rows 0 to 7 then begin in different banks

// What a thread owns of C, in the terms of `Tile`: a warp has all trials of 32 columns, its four tiles of 8 columns
// being those of BLOCKS gate blocks for the same units.
template <int TRIALS, int UNITS, int BLOCKS>
struct TensorTile {
  static constexpr int columns = UNITS * BLOCKS, width = 2, vectors = 4, parts = vectors / BLOCKS, blocks = BLOCKS;
  static constexpr int rows = TRIALS / 8, threads = columns;  // a warp for 32 columns
  static_assert(BLOCKS == 1 || BLOCKS == 2 || BLOCKS == 4, "a warp's 4 tiles are shared out evenly over blocks");
  static_assert(TRIALS % 16 == 0 && columns % 32 == 0 && UNITS % (8 * parts) == 0, "whole fragments");

  typedef float Sums[rows][vectors][width];

  bool active;
  int lane, warp;

  __device__ __forceinline__ TensorTile() {
    active = threadIdx.x < threads;
    lane = threadIdx.x % 32;
    warp = active ? threadIdx.x / 32 : 0;
  }
  __device__ __forceinline__ int row(int i) const { return i / 2 * 16 + lane / 4 + i % 2 * 8; }
  __device__ __forceinline__ int unit(int part) const { return (warp * parts + part) * 8 + lane % 4 * 2; }

  // sums += A W over DEEP steps of 16. operand: row 0 of A's high plane at its first column, the low plane `plane`
  // further; fragments: of the first step; deep: steps of the whole of W; unit0: first unit of the pass, of n.
  template <int STRIDE, int DEEP>
  __device__ __forceinline__ void multiply(Sums& sums, const bf16* operand, int plane, const uint4* fragments, int deep,
                                           int unit0, int n) const {
    if (!active) return;
    operand += lane % 16 * STRIDE + lane / 16 * 8;
    const uint4* from[vectors];
    uint4 b[2][vectors];
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      const int tile = (v % BLOCKS * n + unit0) / 8 + warp * parts + v / BLOCKS;
      from[v] = fragments + static_cast<size_t>(tile) * deep * 32 + lane;
      b[0][v] = *from[v];
    }
#pragma unroll 2
    for (int k = 0; k < DEEP; k++) {
      if (k + 1 < DEEP)  // one step ahead
#pragma unroll
        for (int v = 0; v < vectors; v++) b[(k + 1) % 2][v] = from[v][(k + 1) * 32];
#pragma unroll
      for (int m = 0; m < TRIALS / 16; m++) {
        u32 high[4], low[4];
        load_fragments(high, operand + m * 16 * STRIDE + k * 16);
        load_fragments(low, operand + plane + m * 16 * STRIDE + k * 16);
#pragma unroll
        for (int v = 0; v < vectors; v++) {
          const uint4 w = b[k % 2][v];
          const u32 w_high[2] = {w.x, w.y}, w_low[2] = {w.z, w.w};
          float c[4] = {sums[2 * m][v][0], sums[2 * m][v][1], sums[2 * m + 1][v][0], sums[2 * m + 1][v][1]};
          multiply_add_split(c, high, low, w_high, w_low);
          sums[2 * m][v][0] = c[0], sums[2 * m][v][1] = c[1];
          sums[2 * m + 1][v][0] = c[2], sums[2 * m + 1][v][1] = c[3];
        }
      }
    }
  }
};

// Two neighbours into both planes of an operand.
__device__ __forceinline__ void store_split(bf16* high, int plane, const float (&v)[2]) {
  u32 upper, lower;
  split(v[0], v[1], upper, lower);
  *reinterpret_cast<u32*>(high) = upper;
  *reinterpret_cast<u32*>(high + plane) = lower;
}

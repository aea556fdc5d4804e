// Where things lie. Parameters of one network, in the order of fastrnn/cells: W_rec (n, G n), W_in (D, G n), b (G n),
// W_out (n, K), b_out (K), h0 (S); the first three are one matrix (n + D + 1, G n), the weights of (h | x | 1). From one
// network to the next it is `stride` floats, M rounded up to whole cache lines, the rest zero.
//
// Whatever has steps and trials is time first, (T, P, ...), so that one step of a tile of trials is contiguous, and all
// steps together are the rows of one matrix.
#pragma once

#include "cells/cell.cuh"

template <class Cell>
constexpr __host__ __device__ int gates_of() {
  return Cell::first + Cell::second;
}

template <class Cell, int n>
struct Layout {
  static constexpr int G = gates_of<Cell>(), S = n * Cell::states, columns = G * n;
  static __device__ __forceinline__ int W_in() { return n * columns; }
  static __device__ __forceinline__ int b(int D) { return (n + D) * columns; }
  static __device__ __forceinline__ int W_out(int D) { return (n + D + 1) * columns; }
  static __device__ __forceinline__ int b_out(int D, int K) { return W_out(D) + n * K; }
  static __device__ __forceinline__ int h0(int D, int K) { return b_out(D, K) + K; }
};

// Passes in which the columns of a product with `blocks` gate blocks are worked off: the fewest that cut n into equal
// parts of whole vectors, none wider than `limit` columns.
constexpr __host__ __device__ int passes_of(int blocks, int n, int limit) {
  int passes = 1;
  while (n % passes || (n / passes) % (blocks == 1 ? 8 : 4) || n / passes * blocks > limit) passes++;
  return passes;
}

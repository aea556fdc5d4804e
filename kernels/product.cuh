// Products C (trials, columns) += A (trials, depth) W (depth, columns) of one block: A in shared memory, W streamed
// through it in tiles of DEPTH rows, C in registers.
#pragma once

#include "common.cuh"

constexpr int DEPTH = 16;   // rows of a tile of weights; every n is a multiple of it
constexpr int PADDING = 4;  // floats behind each row of A: rows 0 to 7 then begin in different banks

// What a thread owns of C: ROWS trials, row_groups apart, times 8 columns. The columns are those of BLOCKS gate blocks
// side by side for the same units, so that a thread holds all pre-activations of its units: 8 units of one block, 4 of
// two or 2 of four, as `vectors` runs of `width` columns.
template <int TRIALS, int ROWS, int UNITS, int BLOCKS>
struct Tile {
  static constexpr int columns = UNITS * BLOCKS, width = BLOCKS == 4 ? 2 : 4, vectors = 8 / width;
  static constexpr int run = columns / vectors;  // from one vector of a thread to its next
  static constexpr int parts = vectors / BLOCKS, blocks = BLOCKS, rows = ROWS;  // runs of units a thread owns
  static constexpr int row_groups = TRIALS / ROWS, threads = row_groups * (columns / 8);
  static_assert(BLOCKS == 1 || BLOCKS == 2 || BLOCKS == 4, "a thread's 8 columns are shared out evenly over blocks");
  static_assert(TRIALS % ROWS == 0 && columns % 8 == 0 && run % width == 0, "whole vectors");

  typedef float Sums[ROWS][vectors][width];

  bool active;  // a block may have more threads than this product needs
  int row0, group;

  __device__ __forceinline__ Tile() {
    active = threadIdx.x < threads;
    row0 = threadIdx.x % row_groups;
    group = active ? threadIdx.x / row_groups : 0;
  }
  __device__ __forceinline__ int row(int i) const { return row0 + i * row_groups; }
  // First unit, within the pass, of the thread's run `part`.
  __device__ __forceinline__ int unit(int part) const { return part * run + group * width; }

  // sums += A W over one tile of weights. a: row 0 of A at the tile's first column; stride: floats a row of A.
  template <int STRIDE>
  __device__ __forceinline__ void multiply(Sums& sums, const float* a, const float* weights) const {
    if (!active) return;
    a += row0 * STRIDE;
    weights += group * width;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 4) {
      float left[ROWS][4];
#pragma unroll
      for (int i = 0; i < ROWS; i++) load(left[i], a + i * row_groups * STRIDE + k);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float right[vectors][width];
#pragma unroll
        for (int v = 0; v < vectors; v++) load(right[v], weights + (k + j) * columns + v * run);
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
          for (int v = 0; v < vectors; v++)
#pragma unroll
            for (int w = 0; w < width; w++) sums[i][v][w] = fmaf(left[i][j], right[v][w], sums[i][v][w]);
      }
    }
  }
};

// DEPTH rows of COLUMNS floats into shared memory, 16 bytes a thread at a time; a row is COLUMNS / RUN contiguous runs
// that lie `apart` from each other. The number of copies is known when compiled: places then need few instructions.
template <int COLUMNS, int RUN, int THREADS>
__device__ __forceinline__ void copy_tile(float* to, const float* from, int row_stride, int apart) {
  constexpr unsigned chunks = DEPTH * COLUMNS / 4;
#pragma unroll
  for (unsigned j = 0; j < (chunks + THREADS - 1) / THREADS; j++) {
    const unsigned chunk = threadIdx.x + j * THREADS, row = chunk / (COLUMNS / 4), column = chunk % (COLUMNS / 4) * 4;
    if (chunks % THREADS && chunk >= chunks) continue;
    copy_async(to + 4 * chunk, from + row * row_stride + column / RUN * apart + column % RUN);
  }
}

// The weights of one step, tile after tile in the order in which `Order` uses them, and again for the next step. With
// STAGES = Order::tiles all of them stay in shared memory; with fewer they are copied STAGES - 1 tiles ahead.
//
// Order: tiles of a step, `floats` of the largest, copy(to, weights, tile).
template <class Order, int STAGES>
class Ring {
  static constexpr bool resident = STAGES == Order::tiles;
  static_assert(resident || (STAGES >= 3 && STAGES < Order::tiles), "all tiles, or at least three stages");

  const float* weights;
  float* slots;
  int left, ahead, fill, use;  // tiles still to be copied; the next of them; its slot; the slot to be used next

  __device__ __forceinline__ void fetch() {
    if (left > 0) Order::copy(slots + fill * Order::floats, weights, ahead);
    commit_copies();
    left--;
    ahead = ahead + 1 == Order::tiles ? 0 : ahead + 1;
    fill = fill + 1 == STAGES ? 0 : fill + 1;
  }

 public:
  static constexpr int floats = STAGES * Order::floats;

  __device__ __forceinline__ Ring(const float* weights, float* slots, int steps)
      : weights(weights), slots(slots), left(resident ? STAGES : steps * Order::tiles), ahead(0), fill(0), use(0) {
    for (int stage = 0; stage < (resident ? STAGES : STAGES - 1); stage++) fetch();
    if (resident) wait_copies<0>();  // seen by the other threads after the next barrier
  }

  // The next tile. Streamed tiles: a barrier of the whole block.
  __device__ __forceinline__ const float* next() {
    if constexpr (!resident) {
      wait_copies<STAGES - 2>();  // this tile has arrived
      __syncthreads();            // for all threads; and nobody uses the slot before it any more
      fetch();
    }
    const float* tile = slots + use * Order::floats;
    use = use + 1 == STAGES ? 0 : use + 1;
    return tile;
  }
};

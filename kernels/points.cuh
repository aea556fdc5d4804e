// One state of one network, in float64, owned by a block: its update and Jacobian. Weights are float32; any n.
//
//   h' = F(h, x);   J[u, v] = dF_u / d(h, x)_v
#pragma once

#include "layout.cuh"
#include "common.cuh"

constexpr int POINT_THREADS = 128;

// What a block keeps of its point: state (S), rh (n), input (D), pre-activations and then gates (G n), in shared memory.
template <class Cell>
struct Point {
  static constexpr int G = gates_of<Cell>();
  double *state, *rh, *input, *gates;

  __device__ Point(double* shared, int n, int D) {
    state = shared;
    rh = state + Cell::states * n;
    input = rh + n;
    gates = input + D;
  }
  // Behind it.
  __device__ double* rest(int n) const { return gates + G * n; }

  // The state (S) and input (D), from global memory; ends with a barrier.
  __device__ void take(const double* from, const double* x, int n, int D) {
    for (int u = threadIdx.x; u < Cell::states * n; u += POINT_THREADS) state[u] = from[u];
    for (int d = threadIdx.x; d < D; d += POINT_THREADS) input[d] = x[d];
    __syncthreads();
  }

  // Pre-activations of columns [begin, end) of the blocks, with `left` (n) as left operand.
  __device__ void product(const float* parameters, const double* left, int n, int D, int begin, int end) {
    const int columns = G * n;
    for (int c = begin + threadIdx.x; c < end; c += POINT_THREADS) {
      double a = parameters[(n + D) * columns + c];
      for (int u = 0; u < n; u++) a = fma(left[u], static_cast<double>(parameters[u * columns + c]), a);
      for (int d = 0; d < D; d++) a = fma(input[d], static_cast<double>(parameters[(n + d) * columns + c]), a);
      gates[c] = a;
    }
    __syncthreads();
  }

  // Gates and next state (S, into `next`, global or shared) from the state and input; ends with a barrier.
  __device__ void step(const float* parameters, double gate_bias, double* next, int n, int D) {
    product(parameters, state, n, D, 0, Cell::first * n);
    for (int u = threadIdx.x; u < n; u += POINT_THREADS) {
      double a[Cell::first], gate[Cell::first];
      for (int block = 0; block < Cell::first; block++) a[block] = gates[block * n + u];
      if constexpr (Cell::second > 0) {
        Cell::forward_gates(gate_bias, a, state[u], gate, rh[u]);
      } else {
        double before[Cell::states], after[Cell::states];
        for (int s = 0; s < Cell::states; s++) before[s] = state[s * n + u];
        Cell::forward(gate_bias, a, before, gate, after);
        for (int s = 0; s < Cell::states; s++) next[s * n + u] = after[s];
      }
      if constexpr (Cell::kept > 0)
        for (int block = 0; block < Cell::first; block++) gates[block * n + u] = gate[block];
    }
    __syncthreads();
    if constexpr (Cell::second > 0) {
      product(parameters, rh, n, D, Cell::first * n, G * n);
      for (int u = threadIdx.x; u < n; u += POINT_THREADS) {
        double c;
        Cell::forward_candidate(gates[Cell::C * n + u], gates[Cell::G * n + u], state[u], c, next[u]);
        gates[Cell::C * n + u] = c;
      }
      __syncthreads();
    }
  }

  // d state' by the state and, if `sources` is n + D and not n, by the input: write(row, column, value), columns of the
  // state first. After `step`; `next` (S) is what that gave, `factors` R (G + R) n doubles of room.
  template <class Write>
  __device__ void jacobian(const float* parameters, double gate_bias, const double* next, double* factors, int n, int D,
                           int sources, Write write) {
    constexpr int R = Cell::states;
    const int S = R * n, columns = G * n;
    double* by_block = factors;               // (R, G, n): d state' by pre-activation
    double* by_state = factors + R * G * n;   // (R, R, n): d state' by state, directly
    for (int u = threadIdx.x; u < n; u += POINT_THREADS) {
      if constexpr (Cell::second > 0) {
        // dh' = g dh + (h - c) dg + (1 - g) dc,  dc = phi' (W_c^T (r dh + h dr) + W_in_c^T dx)
        double pass = 0.0;
        const double r = gates[Cell::R * n + u], h = state[u];
        Cell::backward_candidate(gates[Cell::G * n + u], gates[Cell::C * n + u], h, 1.0, by_block[Cell::C * n + u],
                                 by_block[Cell::G * n + u], by_state[u]);
        Cell::backward_gates(r, h, 1.0, by_block[Cell::R * n + u], pass);  // d rh by a_r; `pass` is r
      } else {
        double gate[G], before[R], after[R], block_slopes[R][G], state_slopes[R][R];
        for (int block = 0; block < G; block++) gate[block] = gates[block * n + u];
        for (int s = 0; s < R; s++) before[s] = state[s * n + u], after[s] = next[s * n + u];
        Cell::slopes(gate_bias, gate, before, after, block_slopes, state_slopes);
        for (int s = 0; s < R; s++) {
          for (int block = 0; block < G; block++) by_block[(s * G + block) * n + u] = block_slopes[s][block];
          for (int q = 0; q < R; q++) by_state[(s * R + q) * n + u] = state_slopes[s][q];
        }
      }
    }
    __syncthreads();

    // Row v of the stacked weights is the source h_v, or x_(v - n).
    for (int e = threadIdx.x; e < S * sources; e += POINT_THREADS) {
      const int v = e / S, s = e % S / n, u = e % n, column = v < n ? v : S + v - n;
      const float* weights = parameters + static_cast<size_t>(v) * columns;
      double sum = v == u ? by_state[s * R * n + u] : 0.0;
      if constexpr (Cell::second > 0) {
        double through = (v < n ? gates[Cell::R * n + v] : 1.0) * weights[Cell::C * n + u];
        for (int w = 0; w < n; w++)  // dr: every unit's reset gate reaches every candidate
          through = fma(static_cast<double>(parameters[static_cast<size_t>(w) * columns + Cell::C * n + u]) *
                            by_block[Cell::R * n + w],
                        static_cast<double>(weights[Cell::R * n + w]), through);
        sum += by_block[Cell::G * n + u] * weights[Cell::G * n + u] + by_block[Cell::C * n + u] * through;
      } else {
        for (int block = 0; block < G; block++)
          sum = fma(by_block[(s * G + block) * n + u], static_cast<double>(weights[block * n + u]), sum);
      }
      write(s * n + u, column, sum);
    }
    // by the cell state
    if constexpr (R == 2)
      for (int e = threadIdx.x; e < S * n; e += POINT_THREADS) {
        const int s = e / n / n, u = e / n % n, v = e % n;
        write(s * n + u, n + v, u == v ? by_state[(s * R + 1) * n + u] : 0.0);
      }
  }
};

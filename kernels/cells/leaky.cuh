// Leaky cell: c = phi(a_c), h' = h + alpha (c - h) with the same alpha for all units and steps, which stands in the
// place of gate_bias. See cells/cell.cuh for what a cell gives.
#pragma once

template <class Phi>
struct Leaky {
  static constexpr int first = 1, second = 0, states = 1, kept = 1;
  static constexpr bool noisy = true;
  static constexpr int C = 0;  // block

  template <class Real>
  static __device__ __forceinline__ void forward(Real alpha, const Real (&a)[1], const Real (&state)[1],
                                                 Real (&gate)[1], Real (&next)[1]) {
    gate[C] = Phi::phi(a[C]);
    next[0] = state[0] + alpha * (gate[C] - state[0]);
  }

  // h' = h + alpha (c - h)
  template <class Real>
  static __device__ __forceinline__ void backward(Real alpha, const Real (&gate)[1], const Real (&state)[1],
                                                  const Real (&next)[1], const Real (&dnext)[1], Real (&da)[1],
                                                  Real (&dstate)[1]) {
    da[C] = dnext[0] * alpha * Phi::slope(gate[C]);
    dstate[0] = dnext[0] - dnext[0] * alpha;
  }

  // dh' = (1 - alpha) dh + alpha dc
  template <class Real>
  static __device__ __forceinline__ void slopes(Real alpha, const Real (&gate)[1], const Real (&state)[1],
                                                const Real (&next)[1], Real (&by_block)[1][1],
                                                Real (&by_state)[1][1]) {
    by_block[0][C] = alpha * Phi::slope(gate[C]);
    by_state[0][0] = Real(1) - alpha;
  }
};

// Current cell, state (h, x): x' = x + alpha (a_c - x), h' = c = phi(x') with the same alpha for all units and steps,
// which stands in the place of gate_bias. See cells/cell.cuh for what a cell gives.
#pragma once

template <class Phi>
struct Current {
  static constexpr int first = 1, second = 0, states = 2, kept = 1;
  static constexpr bool noisy = true;
  static constexpr int C = 0;  // block

  template <class Real>
  static __device__ __forceinline__ void forward(Real alpha, const Real (&a)[1], const Real (&state)[2],
                                                 Real (&gate)[1], Real (&next)[2]) {
    next[1] = state[1] + alpha * (a[C] - state[1]);
    next[0] = gate[C] = Phi::phi(next[1]);
  }

  // h' = c = phi(x'), x' = x + alpha (a_c - x)
  template <class Real>
  static __device__ __forceinline__ void backward(Real alpha, const Real (&gate)[1], const Real (&state)[2],
                                                  const Real (&next)[2], const Real (&dnext)[2], Real (&da)[1],
                                                  Real (&dstate)[2]) {
    const Real dx = dnext[1] + dnext[0] * Phi::slope(gate[C]);
    da[C] = dx * alpha;
    dstate[0] = Real(0);
    dstate[1] = dx - dx * alpha;
  }

  // dx' = (1 - alpha) dx + alpha da_c, dh' = phi' dx'
  template <class Real>
  static __device__ __forceinline__ void slopes(Real alpha, const Real (&gate)[1], const Real (&state)[2],
                                                const Real (&next)[2], Real (&by_block)[2][1],
                                                Real (&by_state)[2][2]) {
    const Real slope = Phi::slope(gate[C]);
    by_block[1][C] = alpha;
    by_block[0][C] = slope * alpha;
    by_state[0][0] = by_state[1][0] = Real(0);
    by_state[1][1] = Real(1) - alpha;
    by_state[0][1] = slope * by_state[1][1];
  }
};

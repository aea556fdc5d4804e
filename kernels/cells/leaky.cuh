// Leaky cell: c = phi(a_c), h' = g h + (1 - g) c with the same g for all units and steps: 1 - alpha, which stands in the
// place of gate_bias. See cells/cell.cuh for what a cell gives.
#pragma once

template <class Phi>
struct Leaky {
  static constexpr int first = 1, second = 0, states = 1, kept = 1;
  static constexpr bool noisy = true;
  static constexpr int C = 0;  // block

  template <class Real>
  static __device__ __forceinline__ void forward(Real g, const Real (&a)[1], const Real (&state)[1], Real (&gate)[1],
                                                 Real (&next)[1]) {
    gate[C] = Phi::phi(a[C]);
    next[0] = g * state[0] + (Real(1) - g) * gate[C];
  }

  // h' = g h + (1 - g) c
  template <class Real>
  static __device__ __forceinline__ void backward(Real g, const Real (&gate)[1], const Real (&state)[1],
                                                  const Real (&next)[1], const Real (&dnext)[1], Real (&da)[1],
                                                  Real (&dstate)[1]) {
    da[C] = dnext[0] * (Real(1) - g) * Phi::slope(gate[C]);
    dstate[0] = dnext[0] * g;
  }

  // dh' = g dh + (1 - g) dc
  template <class Real>
  static __device__ __forceinline__ void slopes(Real g, const Real (&gate)[1], const Real (&state)[1],
                                                const Real (&next)[1], Real (&by_block)[1][1],
                                                Real (&by_state)[1][1]) {
    by_block[0][C] = (Real(1) - g) * Phi::slope(gate[C]);
    by_state[0][0] = g;
  }
};

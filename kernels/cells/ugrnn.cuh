// Update-gate cell: g = s(a_g + k), c = phi(a_c), h' = g h + (1 - g) c. See cells/cell.cuh for what a cell gives.
#pragma once

template <class Phi>
struct Ugrnn {
  static constexpr int first = 2, second = 0, states = 1, kept = 2;
  static constexpr bool noisy = false;
  static constexpr int C = 0, G = 1;  // blocks

  template <class Real>
  static __device__ __forceinline__ void forward(Real k, const Real (&a)[2], const Real (&state)[1], Real (&gate)[2],
                                                 Real (&next)[1]) {
    gate[C] = Phi::phi(a[C]);
    gate[G] = sigmoid(a[G] + k);
    next[0] = gate[G] * state[0] + (Real(1) - gate[G]) * gate[C];
  }

  // h' = g h + (1 - g) c
  template <class Real>
  static __device__ __forceinline__ void backward(Real k, const Real (&gate)[2], const Real (&state)[1],
                                                  const Real (&next)[1], const Real (&dnext)[1], Real (&da)[2],
                                                  Real (&dstate)[1]) {
    const Real g = gate[G], c = gate[C], dh = dnext[0];
    da[C] = dh * (Real(1) - g) * Phi::slope(c);
    da[G] = dh * (state[0] - c) * g * (Real(1) - g);
    dstate[0] = dh * g;
  }

  // dh' = g dh + (h - c) dg + (1 - g) dc
  template <class Real>
  static __device__ __forceinline__ void slopes(Real k, const Real (&gate)[2], const Real (&state)[1],
                                                const Real (&next)[1], Real (&by_block)[1][2],
                                                Real (&by_state)[1][1]) {
    const Real g = gate[G], c = gate[C];
    by_block[0][C] = (Real(1) - g) * Phi::slope(c);
    by_block[0][G] = (state[0] - c) * g * (Real(1) - g);
    by_state[0][0] = g;
  }
};

// Vanilla cell: h' = phi(a_h). See cells/cell.cuh for what a cell gives.
#pragma once

template <class Phi>
struct Vanilla {
  static constexpr int first = 1, second = 0, states = 1, kept = 0;
  static constexpr bool noisy = false;

  template <class Real>
  static __device__ __forceinline__ void forward(Real k, const Real (&a)[1], const Real (&state)[1], Real (&gate)[1],
                                                 Real (&next)[1]) {
    next[0] = Phi::phi(a[0]);
  }

  // h' = phi(a_h)
  template <class Real>
  static __device__ __forceinline__ void backward(Real k, const Real (&gate)[1], const Real (&state)[1],
                                                  const Real (&next)[1], const Real (&dnext)[1], Real (&da)[1],
                                                  Real (&dstate)[1]) {
    da[0] = dnext[0] * Phi::slope(next[0]);
    dstate[0] = Real(0);
  }

  // dh' = phi' (W^T dh + W_in^T dx): factors by block in each row of the Jacobian
  template <class Real>
  static __device__ __forceinline__ void slopes(Real k, const Real (&gate)[1], const Real (&state)[1],
                                                const Real (&next)[1], Real (&by_block)[1][1],
                                                Real (&by_state)[1][1]) {
    by_block[0][0] = Phi::slope(next[0]);
    by_state[0][0] = Real(0);
  }
};

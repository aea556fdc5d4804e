// Gated recurrent unit, the reset gate before the recurrent product: g = s(a_g + k), r = s(a_r),
// c = phi((r h) W_c + x W_in_c + b_c), h' = g h + (1 - g) c. Two products a step; see cells/cell.cuh.
#pragma once

template <class Phi>
struct Gru {
  static constexpr int first = 2, second = 1, states = 1, kept = 3;
  static constexpr bool noisy = false;
  static constexpr int G = 0, R = 1, C = 2;  // blocks

  // rh is the left operand of the second product.
  template <class Real>
  static __device__ __forceinline__ void forward_gates(Real k, const Real (&a)[2], Real h, Real (&gate)[2], Real& rh) {
    gate[G] = sigmoid(a[G] + k);
    gate[R] = sigmoid(a[R]);
    rh = gate[R] * h;
  }

  template <class Real>
  static __device__ __forceinline__ void forward_candidate(Real a, Real g, Real h, Real& c, Real& next) {
    c = Phi::phi(a);
    next = g * h + (Real(1) - g) * c;
  }

  // h' = g h + (1 - g) c
  template <class Real>
  static __device__ __forceinline__ void backward_candidate(Real g, Real c, Real h, Real dh, Real& da_c, Real& da_g,
                                                            Real& dstate) {
    da_c = dh * (Real(1) - g) * Phi::slope(c);
    da_g = dh * (h - c) * g * (Real(1) - g);
    dstate = dh * g;
  }

  // rh = r h
  template <class Real>
  static __device__ __forceinline__ void backward_gates(Real r, Real h, Real drh, Real& da_r, Real& dstate) {
    da_r = drh * h * r * (Real(1) - r);
    dstate += drh * r;
  }
};

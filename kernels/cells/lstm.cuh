// Long short-term memory, state (h, cell): i, f, o = s(a_i), s(a_f + k), s(a_o), cell' = f cell + i phi(a_c),
// h' = o phi(cell'). See cells/cell.cuh for what a cell gives.
#pragma once

template <class Phi>
struct Lstm {
  static constexpr int first = 4, second = 0, states = 2, kept = 4;
  static constexpr bool noisy = false;
  static constexpr int I = 0, F = 1, C = 2, O = 3;  // blocks

  template <class Real>
  static __device__ __forceinline__ void forward(Real k, const Real (&a)[4], const Real (&state)[2], Real (&gate)[4],
                                                 Real (&next)[2]) {
    gate[I] = sigmoid(a[I]);
    gate[F] = sigmoid(a[F] + k);
    gate[C] = Phi::phi(a[C]);
    gate[O] = sigmoid(a[O]);
    next[1] = gate[F] * state[1] + gate[I] * gate[C];
    next[0] = gate[O] * Phi::phi(next[1]);
  }

  template <class Real>
  static __device__ __forceinline__ void backward(Real k, const Real (&gate)[4], const Real (&state)[2],
                                                  const Real (&next)[2], const Real (&dnext)[2], Real (&da)[4],
                                                  Real (&dstate)[2]) {
    const Real i = gate[I], f = gate[F], c = gate[C], o = gate[O], phi_cell = Phi::phi(next[1]);
    // h' = o phi(cell')
    const Real dcell = dnext[1] + dnext[0] * o * Phi::slope(phi_cell);
    da[O] = dnext[0] * phi_cell * o * (Real(1) - o);
    // cell' = f cell + i c
    da[I] = dcell * c * i * (Real(1) - i);
    da[F] = dcell * state[1] * f * (Real(1) - f);
    da[C] = dcell * i * Phi::slope(c);
    dstate[0] = Real(0);
    dstate[1] = dcell * f;
  }

  // dcell' = f dcell + cell df + c di + i dc, dh' = phi(cell') do + o phi' dcell'
  template <class Real>
  static __device__ __forceinline__ void slopes(Real k, const Real (&gate)[4], const Real (&state)[2],
                                                const Real (&next)[2], Real (&by_block)[2][4],
                                                Real (&by_state)[2][2]) {
    const Real i = gate[I], f = gate[F], c = gate[C], o = gate[O], phi_cell = Phi::phi(next[1]);
    const Real by_cell = o * Phi::slope(phi_cell);
    by_block[1][I] = c * i * (Real(1) - i);
    by_block[1][F] = state[1] * f * (Real(1) - f);
    by_block[1][C] = i * Phi::slope(c);
    by_block[1][O] = Real(0);
    for (int block = 0; block < 4; block++) by_block[0][block] = by_cell * by_block[1][block];
    by_block[0][O] = phi_cell * o * (Real(1) - o);
    by_state[0][0] = by_state[1][0] = Real(0);
    by_state[0][1] = by_cell * f;
    by_state[1][1] = f;
  }
};

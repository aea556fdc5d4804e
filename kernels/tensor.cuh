// Products on tensor cores with operands split into two bf16: x = hi + lo up to 2^-16 x, and
//
//   a b = a_hi b_hi + a_hi b_lo + a_lo b_hi      ("bf16x3"; a_lo b_lo is below the rounding of the rest)
//
// with float32 sums, which are cut, not rounded, after each operation (Fasi et al. 2021). Each operation that needs PTX
// has its twin for tests/cuda_host; fragments as in the PTX ISA, m16n8k16: with g = lane / 4, q = lane % 4, registers of
// two bf16 each, the lower half first,
//   A (16, 16): a0 (g, 2q), a1 (g + 8, 2q), a2 (g, 2q + 8), a3 (g + 8, 2q + 8);  B (16, 8): b0 (2q, g), b1 (2q + 8, g)
//   C (16, 8): c0 (g, 2q), c1 (g, 2q + 1), c2 (g + 8, 2q), c3 (g + 8, 2q + 1)
#pragma once

#include "common.cuh"

typedef unsigned short bf16;

#ifdef FASTRNN_HOST

inline u32 pair_of_bf16(float low, float high) { return host::bf16_bits(low) | host::bf16_bits(high) << 16; }
inline void load_fragments(u32 (&r)[4], const bf16* row) { host::load_matrices(r, row, false); }
inline void load_fragments_transposed(u32 (&r)[4], const bf16* row) { host::load_matrices(r, row, true); }
inline void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { host::multiply_bf16(c, a, b0, b1); }

#else

// Two numbers, each rounded to the nearest bf16.
__device__ __forceinline__ u32 pair_of_bf16(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
// Four 8 x 8 matrices from shared memory, lane l giving the address of row l % 8 of matrix l / 8; of each the lane gets
// the elements 2q and 2q + 1 of row g, or transposed: of column g.
__device__ __forceinline__ void load_fragments(u32 (&r)[4], const bf16* row) {
  const u32 from = static_cast<u32>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}
__device__ __forceinline__ void load_fragments_transposed(u32 (&r)[4], const bf16* row) {
  const u32 from = static_cast<u32>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}
// c += a b, by the whole warp.
__device__ __forceinline__ void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

// Two numbers as high and low parts.
__device__ __forceinline__ void split(float x, float y, u32& high, u32& low) {
  high = pair_of_bf16(x, y);
  low = pair_of_bf16(x - __int_as_float(high << 16), y - __int_as_float(high & 0xFFFF0000u));
}

// c += a b of operands in two parts, smallest terms first.
__device__ __forceinline__ void multiply_add_split(float (&c)[4], const u32 (&a_high)[4], const u32 (&a_low)[4],
                                                   const u32 (&b_high)[2], const u32 (&b_low)[2]) {
  multiply_add(c, a_low, b_high[0], b_high[1]);
  multiply_add(c, a_high, b_low[0], b_low[1]);
  multiply_add(c, a_high, b_high[0], b_high[1]);
}

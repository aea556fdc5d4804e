// Counter-based random numbers: the words of fastrnn/counters.py, bit for bit.
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include "common.cuh"

struct Words {
  u32 w[4];
};

// Ten rounds of Philox4x32.
__device__ __forceinline__ Words philox(u32 c0, u32 c1, u32 c2, u32 c3, u32 key0, u32 key1) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const u64 p0 = u64(0xD2511F53u) * c0, p1 = u64(0xCD9E8D57u) * c2;
    c0 = u32(p1 >> 32) ^ c1 ^ key0;
    c1 = u32(p1);
    c2 = u32(p0 >> 32) ^ c3 ^ key1;
    c3 = u32(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The random words of one trial: of (key, purpose, iteration, trial), nothing carried from draw to draw.
struct Stream {
  u64 key;
  u32 purpose, iteration, trial;

  // Words 4 block to 4 block + 3.
  __device__ __forceinline__ Words block(u32 index) const {
    return philox(index, trial, iteration, purpose, u32(key), u32(key >> 32));
  }
  __device__ __forceinline__ u32 word(u32 index) const { return block(index / 4).w[index % 4]; }
  // A further stream of the same trial, index from 1.
  __device__ __forceinline__ Stream further(u32 index) const { return {key, purpose | index << 8, iteration, trial}; }
};

// Two standard normals from two words (Box and Muller): see counters.normals, whose formulas these are.
__device__ __forceinline__ void normal_pair(u32 radius_word, u32 angle, float& first, float& second) {
  // u = m 2^exponent with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh((m - 1) / (m + 1))
  const float u = (float(radius_word >> 9) + 0.5f) * 1.1920928955078125e-07f;
  int bits = __float_as_int(u);
  const int exponent = (bits - 0x3F3504F3) >> 23;
  const float m = __int_as_float(bits - exponent * (1 << 23));
  const float s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  float tail = fmaf(s2, 2.0f / 11.0f, 2.0f / 9.0f);
  tail = fmaf(s2, tail, 2.0f / 7.0f);
  tail = fmaf(s2, tail, 2.0f / 5.0f);
  tail = fmaf(s2, tail, 2.0f / 3.0f);
  const float log_u = fmaf(float(exponent), 0.693147180559945309f, fmaf(s * s2, tail, 2.0f * s));
  const float radius = sqrtf(-2.0f * log_u);
  // a quarter turn [-pi/4, pi/4) from 22 bits, turned by the top two
  const float theta = (float((angle & 0x3FFFFFFFu) >> 8) * 2.384185791015625e-07f - 0.5f) * 1.57079632679489662f;
  const float t2 = theta * theta;
  float sine = fmaf(t2, fmaf(t2, 1.0f / 362880.0f, -1.0f / 5040.0f), 1.0f / 120.0f);
  sine = fmaf(theta * t2, fmaf(t2, sine, -1.0f / 6.0f), theta);
  float cosine = fmaf(t2, fmaf(t2, -1.0f / 3628800.0f, 1.0f / 40320.0f), -1.0f / 720.0f);
  cosine = fmaf(t2, fmaf(t2, fmaf(t2, cosine, 1.0f / 24.0f), -0.5f), 1.0f);
  const u32 quarter = angle >> 30;
  const float sign = quarter >= 2 ? -radius : radius;
  first = sign * (quarter & 1 ? -sine : cosine);
  second = sign * (quarter & 1 ? cosine : sine);
}

// Element `index` of `count` standard normals of a stream, as counters.normals gives them.
__device__ __forceinline__ float normal(const Stream& stream, int index, int count) {
  const int half = (count + 1) / 2, pair = index < half ? index : index - half;
  float first, second;
  normal_pair(stream.word(pair), stream.word(half + pair), first, second);
  return index < half ? first : second;
}

// What all kernels share: vectors of floats, activations, asynchronous copies. Every operation that needs PTX stands
// here, and has a twin in plain C++ for tests/cuda_host (FASTRNN_HOST), where kernels run without a GPU.
//
// Shape letters as everywhere: N networks, B trials, T steps, n units, D inputs, K outputs, G gate blocks, S state size,
// M parameters of one network. P is B rounded up to whole tiles of trials: rows beyond B repeat the last trial, with a
// mask of zero, so that no kernel has an edge in the direction of trials.
#pragma once

#ifdef FASTRNN_HOST
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(host::dynamic_shared())
#else
#define DYNAMIC_SHARED(type, name)                              \
  extern __shared__ __align__(16) unsigned char shared_bytes[]; \
  type* name = reinterpret_cast<type*>(shared_bytes)
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

enum { TRAINING = 1, TRAINED = 2, DIVERGED = 3 };  // fastrnn/errors.py: Status

// W floats (2 or 4) between registers and memory, in one access.
template <int W>
__device__ __forceinline__ void load(float (&v)[W], const float* p) {
  static_assert(W == 2 || W == 4, "vectors have two or four floats");
  if constexpr (W == 4) {
    const float4 q = *reinterpret_cast<const float4*>(p);
    v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
  } else {
    const float2 q = *reinterpret_cast<const float2*>(p);
    v[0] = q.x, v[1] = q.y;
  }
}

template <int W>
__device__ __forceinline__ void store(float* p, const float (&v)[W]) {
  static_assert(W == 2 || W == 4, "vectors have two or four floats");
  if constexpr (W == 4)
    *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
  else
    *reinterpret_cast<float2*>(p) = make_float2(v[0], v[1]);
}

// ------------------------------------------------------------------------------------------------- approximations

#ifdef FASTRNN_HOST
inline float exp2_approximate(float x) { return exp2f(x); }
inline float reciprocal_approximate(float x) { return 1.0f / x; }
#else
__device__ __forceinline__ float exp2_approximate(float x) {  // within 2 ulp
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal_approximate(float x) {  // within 1 ulp
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// 1 / (1 + exp(-x)). exp2 of 126 is finite; beyond, the sigmoid is below 1e-38.
__device__ __forceinline__ float sigmoid(float x) {
  const float e = -1.4426950408889634f * x;
  return reciprocal_approximate(1.0f + exp2_approximate(e > 126.0f ? 126.0f : e));  // a NaN stays one
}
__device__ __forceinline__ double sigmoid(double x) {
  const double e = exp(-fabs(x));
  return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}

// tanh as in engines/cpu/vectors.py: x P(x^2) / Q(x^2), relative error 1.3e-9 and rounding.
__device__ __forceinline__ float tangent(float x) {
  x = x > 9.01f ? 9.01f : (x < -9.01f ? -9.01f : x);  // a NaN stays one
  const float s = x * x;
  float p = fmaf(s, -1.2225030016077554e-11f, 3.061407838345076e-08f);
  p = fmaf(s, p, 2.8019534511258826e-05f);
  p = fmaf(s, p, 0.0038689258508384228f);
  p = fmaf(s, p, 0.13680392503738403f);
  p = fmaf(s, p, 1.0f);
  float q = fmaf(s, 1.28821056932793e-06f, 0.00039396859938278794f);
  q = fmaf(s, q, 0.02724802866578102f);
  q = fmaf(s, q, 0.47013723850250244f);
  q = fmaf(s, q, 1.0f);
  const float y = x * p * reciprocal_approximate(q);
  return y > 1.0f ? 1.0f : (y < -1.0f ? -1.0f : y);
}
__device__ __forceinline__ double tangent(double x) { return tanh(x); }

// Activations: phi(x), and its slope from y = phi(x).
struct Tanh {
  template <class Real>
  static __device__ __forceinline__ Real phi(Real x) {
    return tangent(x);
  }
  template <class Real>
  static __device__ __forceinline__ Real slope(Real y) {
    return Real(1) - y * y;
  }
};
struct Relu {
  template <class Real>
  static __device__ __forceinline__ Real phi(Real x) {
    return x < Real(0) ? Real(0) : x;  // a NaN stays one
  }
  template <class Real>
  static __device__ __forceinline__ Real slope(Real y) {
    return y > Real(0) ? Real(1) : Real(0);
  }
};

// -------------------------------------------------------------------------------------------- asynchronous copies

#ifdef FASTRNN_HOST
inline void copy_async(float* shared, const float* global) { host::copy_async(shared, global, 16); }
inline void commit_copies() { host::commit_copies(); }
template <int PENDING>
inline void wait_copies() {
  host::wait_copies(PENDING);
}
#else
// 16 bytes from global to shared memory, both aligned, past the first-level cache.
__device__ __forceinline__ void copy_async(float* shared, const float* global) {
  const u32 to = static_cast<u32>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most PENDING groups of this thread's copies are on their way.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#endif

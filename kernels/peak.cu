// What a device can do at most: fused multiply-adds on registers alone. Measured by benchmarks/gpu.py, to which the
// speed of everything else is compared.
#include "common.cuh"

constexpr int PEAK_THREADS = 256, PEAK_CHAINS = 16;

// 2 PEAK_CHAINS FLOPs a thread and round; values (blocks * PEAK_THREADS,) keeps the compiler from leaving them out.
__global__ void __launch_bounds__(PEAK_THREADS)
    peak(float* values, int rounds) {
  const size_t place = static_cast<size_t>(blockIdx.x) * PEAK_THREADS + threadIdx.x;
  const float start = values[place];
  float chains[PEAK_CHAINS];
#pragma unroll
  for (int c = 0; c < PEAK_CHAINS; c++) chains[c] = start + c;
#pragma unroll 4
  for (int round = 0; round < rounds; round++)
#pragma unroll
    for (int c = 0; c < PEAK_CHAINS; c++) chains[c] = fmaf(chains[c], 0.999f, start);
  float sum = 0.0f;
#pragma unroll
  for (int c = 0; c < PEAK_CHAINS; c++) sum += chains[c];
  values[place] = sum;
}

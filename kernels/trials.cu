// Fresh trials of a built-in task for every network of a group, and the noise of the units' own.
//
// trials: a thread fills one trial, step by step; neighbours are neighbouring trials, which lie side by side. Rows B to
// P - 1 repeat the last trial and count for nothing. Overwrites all three arrays.
// noise: a block does some trials of a network; a thread makes eight numbers from eight words, four of each half of a
// trial's. Rows beyond B have those of further trials. Overwrites `gates`.
// Deterministic: each number is a function of (key, purpose, iteration, trial, element).
#include "tasks.cuh"

// keys (N,) u64; iterations (N,) int64; settings float64; inputs (N, T, P, D), targets (N, T, P, K), mask (N, T, P);
// `first` is the number of the first trial, B how many count
template <class Task>
__global__ void __launch_bounds__(128)
    trials(const u64* __restrict__ keys, const long long* __restrict__ iterations, const int* __restrict__ status,
           const double* __restrict__ settings, float* inputs, float* targets, float* mask, u32 purpose, u32 first,
           int T, int B, int P, int D, int K) {
  const size_t network = blockIdx.x;
  const int row = blockIdx.y * blockDim.x + threadIdx.x;
  if (row >= P || status[network] != TRAINING) return;
  inputs += (network * T * P + row) * D;
  targets += (network * T * P + row) * K;
  mask += network * T * P + row;
  const u32 trial = first + (row < B ? row : B - 1);
  const Stream stream = {keys[network], purpose, static_cast<u32>(iterations[network]), trial};
  Task::trial(stream, settings, inputs, targets, T, P * D, P * K);
  for (int t = 0; t < T; t++) mask[t * P] = row < B ? 1.0f : 0.0f;
}

// gates (N, T, P, n) = scales (N,) times standard normals, element t n + u of T n of a trial's stream; n a multiple
// of 8
__global__ void __launch_bounds__(128)
    noise(float* gates, const u64* __restrict__ keys, const long long* __restrict__ iterations,
          const int* __restrict__ status, const double* __restrict__ scales, u32 purpose, int T, int P, int n) {
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const float scale = static_cast<float>(scales[network]);
  const int half = T * n / 2;
  gates += network * T * P * n;
  for (int row = blockIdx.y; row < P; row += gridDim.y) {
    const Stream stream = {keys[network], purpose, static_cast<u32>(iterations[network]), static_cast<u32>(row)};
    for (int pair = 4 * threadIdx.x; pair < half; pair += 4 * blockDim.x) {
      const Words radius = stream.block(pair / 4), angle = stream.block((half + pair) / 4);
      float made[2][4];
#pragma unroll
      for (int w = 0; w < 4; w++) {
        normal_pair(radius.w[w], angle.w[w], made[0][w], made[1][w]);
        made[0][w] *= scale;
        made[1][w] *= scale;
      }
#pragma unroll
      for (int side = 0; side < 2; side++) {
        const int element = side * half + pair;
        store(gates + (static_cast<size_t>(element / n) * P + row) * n + element % n, made[side]);
      }
    }
  }
}

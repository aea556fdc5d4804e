// Outputs of all steps, what they are off by, the loss, and the gradient of the readout.
//
//   y = h W_out + b_out,  e = mask (y - target),  total += mask (y - target)^2
//   dW_out = h^T e,  db_out = sum of e            (the factor 2 / (K sum of mask) is applied in update.cu)
//
// A block owns one slice of the steps of one network, a warp every WARPS-th of its rows (step, trial), a lane every
// 32nd unit; outputs are worked off CHUNK at a time, states being read once for each. Partial sums of the slices are
// added in update.cu in order: no atomics. Shared: W_out of a chunk (CHUNK, n), and as much for each warp's gradient.
//
// Overwrites `errors`, and of a slice of `gradients` W_out and b_out, and its `sums`. Deterministic.
#include "layout.cuh"
#include "common.cuh"

constexpr int CHUNK = 4;

// parameters (N, stride); states (N, T + 1, P, S); targets, errors (N, T, P, K); mask (N, T, P);
// gradients (N, slices, stride); sums (N, slices, 2) float64: of mask * squared error, and of mask.
// Not graded, `errors` gets the outputs, and nothing else is written.
template <class Cell, int n, int WARPS>
__global__ void __launch_bounds__(32 * WARPS, n > 128 ? 2 : 3)
    readout(const float* __restrict__ parameters, const float* __restrict__ states, const float* __restrict__ targets,
            const float* __restrict__ mask, float* __restrict__ errors, float* __restrict__ gradients,
            double* __restrict__ sums, const int* __restrict__ status, int stride, int T, int P, int D, int K,
            int slices, int graded) {
  typedef Layout<Cell, n> L;
  constexpr int held = (n + 31) / 32;  // units of a lane
  const size_t network = blockIdx.x;
  const int slice = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (status[network] != TRAINING) return;
  parameters += network * stride;
  states += (network * (T + 1) + 1) * P * L::S;  // after each step
  targets += network * T * P * K;
  mask += network * T * P;
  errors += network * T * P * K;
  gradients += (network * slices + slice) * stride;

  DYNAMIC_SHARED(float, shared);
  float* weights = shared;                                   // (CHUNK, n)
  float* partial = shared + CHUNK * n;                       // (WARPS, CHUNK, n + 1), the last for b_out
  __shared__ double totals[WARPS][2];
  const int begin = static_cast<int>(static_cast<long long>(slice) * T / slices) * P;
  const int end = static_cast<int>(static_cast<long long>(slice + 1) * T / slices) * P;

  double total = 0.0;  // lane 0: of mask * squared error; lane 1: of mask
  for (int k0 = 0; k0 < K; k0 += CHUNK) {
    __syncthreads();
    for (int e = threadIdx.x; e < CHUNK * n; e += 32 * WARPS) {
      const int k = k0 + e / n;
      weights[e] = k < K ? parameters[L::W_out(D) + e % n * K + k] : 0.0f;
    }
    __syncthreads();
    float bias[CHUNK], dW[held][CHUNK] = {}, db[CHUNK] = {};
#pragma unroll
    for (int k = 0; k < CHUNK; k++) bias[k] = k0 + k < K ? parameters[L::b_out(D, K) + k0 + k] : 0.0f;

    for (int row = begin + warp; row < end; row += WARPS) {
      const float counts = graded ? mask[row] : 0.0f;
      float h[held], y[CHUNK] = {}, wanted[CHUNK];
#pragma unroll
      for (int k = 0; k < CHUNK; k++)
        wanted[k] = graded && k0 + k < K ? targets[static_cast<size_t>(row) * K + k0 + k] : 0.0f;
#pragma unroll
      for (int j = 0; j < held; j++) {
        const int u = lane + 32 * j;
        h[j] = n % 32 == 0 || u < n ? states[static_cast<size_t>(row) * L::S + u] : 0.0f;
#pragma unroll
        for (int k = 0; k < CHUNK; k++)
          if (n % 32 == 0 || u < n) y[k] = fmaf(h[j], weights[k * n + u], y[k]);
      }
#pragma unroll
      for (int k = 0; k < CHUNK; k++)
#pragma unroll
        for (int distance = 16; distance; distance /= 2) y[k] += __shfl_xor_sync(0xFFFFFFFFu, y[k], distance);

      float squares = 0.0f;
#pragma unroll
      for (int k = 0; k < CHUNK; k++) {
        y[k] += bias[k];
        if (graded) {
          const float off = k0 + k < K && counts != 0.0f ? y[k] - wanted[k] : 0.0f;
          y[k] = counts * off;
          squares = fmaf(y[k], off, squares);
          db[k] += y[k];
#pragma unroll
          for (int j = 0; j < held; j++) dW[j][k] = fmaf(h[j], y[k], dW[j][k]);
        }
        if (lane == k && k0 + k < K) errors[static_cast<size_t>(row) * K + k0 + k] = y[k];
      }
      total += lane == 0 ? squares : k0 == 0 ? counts : 0.0f;  // summed first: float64 is slow on many GPUs
    }
    if (!graded) continue;
#pragma unroll
    for (int k = 0; k < CHUNK; k++) {
#pragma unroll
      for (int j = 0; j < held; j++)
        if (n % 32 == 0 || lane + 32 * j < n) partial[(warp * CHUNK + k) * (n + 1) + lane + 32 * j] = dW[j][k];
      if (lane == 0) partial[(warp * CHUNK + k) * (n + 1) + n] = db[k];
    }
    __syncthreads();
    for (int e = threadIdx.x; e < CHUNK * (n + 1); e += 32 * WARPS) {
      const int k = k0 + e / (n + 1), u = e % (n + 1);
      float sum = 0.0f;
      for (int w = 0; w < WARPS; w++) sum += partial[w * CHUNK * (n + 1) + e];
      if (k < K) gradients[u < n ? L::W_out(D) + u * K + k : L::b_out(D, K) + k] = sum;
    }
  }
  if (!graded) return;
  if (lane < 2) totals[warp][lane] = total;
  __syncthreads();
  if (threadIdx.x < 2) {
    double sum = 0.0;
    for (int w = 0; w < WARPS; w++) sum += totals[w][threadIdx.x];
    sums[(network * slices + slice) * 2 + threadIdx.x] = sum;
  }
}

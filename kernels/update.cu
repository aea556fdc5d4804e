// The end of an iteration: the whole gradient of each network, its norm, and one step of gradient descent.
//
//   g = 2 / (K sum of mask) * (sum of the slices) + 2 l2 p;  g *= min(1, clip / |g|)
//   rate = learning_rate decay^(iteration / decay_steps)
//
//   SGD   v = momentum v + g;  p -= rate v
//   Adam  v = momentum v + (1 - momentum) g;  s = squares_decay s + (1 - squares_decay) g^2
//         p -= rate v / (1 - momentum^t) / (sqrt(s / (1 - squares_decay^t)) + epsilon),  t = iteration + 1
//
// A block owns a network. A loss or gradient that is not finite, or with Adam has squares that are not, freezes the
// network as it was and marks it. Sums have a fixed order. W_rec^T for the way back is made anew by `transpose`, both
// for tensor cores by `fragments`.
#include "tensor.cuh"

constexpr int UPDATE_THREADS = 512;
constexpr double LONGEST_SQUARED = 1e19;  // norm of a gradient whose squares float32 holds

// Sum over the block, for the first thread.
__device__ double block_sum(double value) {
  __shared__ double partial[UPDATE_THREADS / 32];
#pragma unroll
  for (int distance = 16; distance; distance /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  double sum = 0.0;
  if (threadIdx.x == 0)
    for (int warp = 0; warp < UPDATE_THREADS / 32; warp++) sum += partial[warp];
  return sum;
}

// Whole gradients into slice 0, their squared norms, and the losses; overwrites all three.
// parameters (N, stride); gradients (N, slices, stride); dh0 (N, tiles, S), S = count - at_h0, its place from at_h0 on;
// sums (N, slices, 2); l2 (N,); losses, norms (N,) float64
__global__ void __launch_bounds__(UPDATE_THREADS)
    collect(const float* __restrict__ parameters, float* gradients, const float* __restrict__ dh0,
            const double* __restrict__ sums, const double* __restrict__ l2, double* __restrict__ losses,
            double* __restrict__ norms, const int* __restrict__ status, int stride, int count, int at_h0, int slices,
            int tiles, int K) {
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  parameters += network * stride;
  gradients += network * slices * stride;
  dh0 += network * tiles * (count - at_h0);
  double total = 0.0, weight = 0.0;
  for (int slice = 0; slice < slices; slice++) {
    total += sums[(network * slices + slice) * 2];
    weight += sums[(network * slices + slice) * 2 + 1];
  }
  weight *= K;
  const float scale = static_cast<float>(2.0 / weight), penalty = static_cast<float>(2.0 * l2[network]);
  double squares = 0.0;
  for (int j = threadIdx.x; j < count; j += UPDATE_THREADS) {
    float g = 0.0f;
    if (j < at_h0)
      for (int slice = 0; slice < slices; slice++) g += gradients[static_cast<size_t>(slice) * stride + j];
    else
      for (int tile = 0; tile < tiles; tile++) g += dh0[tile * (count - at_h0) + j - at_h0];
    g = scale * g + penalty * parameters[j];
    gradients[j] = g;
    squares += static_cast<double>(g) * g;
  }
  squares = block_sum(squares);
  if (threadIdx.x == 0) {
    losses[network] = total / weight;
    norms[network] = squares;
  }
}

struct Hyperparameters {
  double learning_rate, decay, momentum, clip;
};

// In place: parameters, velocities, with Adam squares (N, stride), iterations (N,), status (N,). curves (N,
// curve_length) gets the loss of this iteration in column `column`. gradients: slice 0 of each network as `collect`
// left it. squares_decay is 0 where it is not Adam, which has no squares then.
__global__ void __launch_bounds__(UPDATE_THREADS)
    descend(float* parameters, float* velocities, float* squares, const float* __restrict__ gradients,
            const double* __restrict__ losses, const double* __restrict__ norms,
            const Hyperparameters* __restrict__ hyperparameters, const long long* __restrict__ decay_steps,
            long long* iterations, int* status, float* __restrict__ curves, int stride, int count, int slices,
            int column, int curve_length, double squares_decay, float epsilon) {
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const Hyperparameters h = hyperparameters[network];
  const double loss = losses[network], norm = sqrt(norms[network]);
  const long long iteration = iterations[network];
  __syncthreads();  // everybody has read what the first thread changes
  const bool too_long = squares_decay > 0.0 && fmin(norm, h.clip) > LONGEST_SQUARED;
  if (!isfinite(loss) || !isfinite(norm) || too_long) {
    if (threadIdx.x == 0) status[network] = DIVERGED;
    return;
  }
  const float shrink = norm > h.clip ? static_cast<float>(h.clip / norm) : 1.0f;
  const float momentum = static_cast<float>(h.momentum);
  const double rate =
      h.learning_rate * pow(h.decay, static_cast<double>(iteration) / static_cast<double>(decay_steps[network]));
  parameters += network * stride;
  velocities += network * stride;
  gradients += network * slices * stride;
  if (squares_decay > 0.0) {
    const double t = static_cast<double>(iteration + 1);
    const float fresh = static_cast<float>(1.0 - h.momentum);
    const float unbiased_rate = static_cast<float>(rate / (1.0 - pow(h.momentum, t)));
    const float unbiased = static_cast<float>(1.0 / (1.0 - pow(squares_decay, t)));
    const float kept_squares = static_cast<float>(squares_decay);
    const float fresh_squares = static_cast<float>(1.0 - squares_decay);
    squares += network * stride;
    for (int j = threadIdx.x; j < count; j += UPDATE_THREADS) {
      const float g = shrink * gradients[j];
      const float v = fmaf(momentum, velocities[j], fresh * g);
      const float s = fmaf(kept_squares, squares[j], fresh_squares * (g * g));
      velocities[j] = v;
      squares[j] = s;
      parameters[j] -= unbiased_rate * v / (sqrtf(unbiased * s) + epsilon);
    }
  } else {
    const float step = static_cast<float>(rate);
    for (int j = threadIdx.x; j < count; j += UPDATE_THREADS) {
      const float v = fmaf(momentum, velocities[j], shrink * gradients[j]);
      velocities[j] = v;
      parameters[j] = fmaf(-step, v, parameters[j]);
    }
  }
  if (threadIdx.x == 0) {
    curves[network * curve_length + column] = static_cast<float>(loss);
    iterations[network] = iteration + 1;
    if (iteration + 1 >= decay_steps[network]) status[network] = TRAINED;
  }
}

// transposed (N, columns, n) = W_rec^T of parameters (N, stride). A block moves tiles (16, 16), n and columns being
// multiples of 16; overwrites.
__global__ void __launch_bounds__(256)
    transpose(const float* __restrict__ parameters, float* __restrict__ transposed, const int* __restrict__ status,
              int stride, int n, int columns) {
  __shared__ float tile[16][17];
  const size_t network = blockIdx.x;
  if (status[network] != TRAINING) return;
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  const int u = blockIdx.y * 16, v = blockIdx.z * 16;
  tile[y][x] = parameters[network * stride + (u + y) * columns + v + x];
  __syncthreads();
  transposed[(network * columns + v + y) * n + u + x] = tile[x][y];
}

// W_rec (n, columns) and its transpose, split into two bf16, in the order in which lanes of tensor_product.cuh take
// them: (columns / 8, n / 16, 32) and (n / 8, columns / 16, 32) uint4, each {high b0, high b1, low b0, low b1}.
// A thread makes one of either; overwrites.
__global__ void __launch_bounds__(256)
    fragments(const float* __restrict__ parameters, uint4* __restrict__ forward_fragments,
              uint4* __restrict__ backward_fragments, const int* __restrict__ status, int stride, int n, int columns) {
  const size_t network = blockIdx.x;
  const int count = n * columns / 4, e = blockIdx.y * 256 + threadIdx.x;
  if (e >= count || status[network] != TRAINING) return;
  parameters += network * stride;
  const int g = e % 32 / 4, q = e % 4, tile = e / 32;
  const auto made = [&](int deep, int row_stride, int column_stride) {
    const float* from = parameters + (tile % deep * 16 + 2 * q) * row_stride + (tile / deep * 8 + g) * column_stride;
    uint4 r;
    split(from[0], from[row_stride], r.x, r.z);
    split(from[8 * row_stride], from[9 * row_stride], r.y, r.w);
    return r;
  };
  forward_fragments[network * count + e] = made(n / 16, columns, 1);
  backward_fragments[network * count + e] = made(columns / 16, 1, columns);
}

// The update at single states, and its Jacobians, in float64: for fixed points and what is around them.
//
// A block owns one state of one network; see points.cuh. Grid: states first, of which there may be more than 65,535.
// Shared: state, input, all gates; for the Jacobian also the state after and its factors. Overwrites its outputs.
#include "points.cuh"

// parameters (N, stride) float32; states (N, M, S), inputs (N, M, D), next (N, M, S)
template <class Cell>
__global__ void __launch_bounds__(POINT_THREADS)
    step_points(const float* __restrict__ parameters, const double* __restrict__ states,
                const double* __restrict__ inputs, double* __restrict__ next, double gate_bias, int stride, int n,
                int D) {
  DYNAMIC_SHARED(double, shared);
  const size_t network = blockIdx.y, point = network * gridDim.x + blockIdx.x;
  const int S = Cell::states * n;
  Point<Cell> at(shared, n, D);
  at.take(states + point * S, inputs + point * D, n, D);
  at.step(parameters + network * stride, gate_bias, next + point * S, n, D);
}

// jacobians (N, M, S, S + D): by state, then by input
template <class Cell>
__global__ void __launch_bounds__(POINT_THREADS)
    jacobian_points(const float* __restrict__ parameters, const double* __restrict__ states,
                    const double* __restrict__ inputs, double* __restrict__ jacobians, double gate_bias, int stride,
                    int n, int D) {
  DYNAMIC_SHARED(double, shared);
  const size_t network = blockIdx.y, point = network * gridDim.x + blockIdx.x;
  const int S = Cell::states * n, wide = S + D;
  parameters += network * stride;
  jacobians += point * S * wide;
  Point<Cell> at(shared, n, D);
  at.take(states + point * S, inputs + point * D, n, D);
  double* next = at.rest(n);
  at.step(parameters, gate_bias, next, n, D);
  at.jacobian(parameters, gate_bias, next, next + S, n, D, n + D,
              [&](int row, int column, double value) { jacobians[static_cast<size_t>(row) * wide + column] = value; });
}

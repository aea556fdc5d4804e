// Levenberg-Marquardt for fixed points, h = F(h, x): fastrnn/analysis/levenberg_marquardt.py, start by start, float64.
//
//   (A^T A + mu I) s = A^T (F(h) - h),  A = I - J;  mu falls when q = |F(h) - h|^2 / 2 does, and grows when it doesn't
//
// A block owns one of M starts, each of any network, from the first step to the last. A and the damped matrix, which is
// factorised in place (Cholesky), lie in `work`; everything else is shared: see points.cuh, and residuals, right side
// and trial state, and where the Jacobian's factors were the newest column of the Cholesky factor. Overwrites states, q
// and taken. Deterministic: every sum has a fixed order.
#include "points.cuh"

struct Rule {
  double tolerance, enough;        // stop where q <= max(tolerance (1 + |h|^2), enough)
  double start, floor, most;       // of mu
  double flat;                     // relative fall of q below which a step counts as no progress
};

// Sum over the block of what each thread has, the same in all threads.
__device__ double sum_of_block(double value, double* partial) {
  partial[threadIdx.x] = value;
  __syncthreads();
  for (int half = POINT_THREADS / 2; half; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  const double sum = partial[0];
  __syncthreads();
  return sum;
}

constexpr int WARP = 32, POINT_WARPS = POINT_THREADS / WARP;
constexpr int PRODUCT_ROWS = 4, PRODUCT_COLUMNS = 4;  // elements of A^T A a thread adds up at once
constexpr int UPDATED_ROWS = 4;  // of a damped matrix, whose elements are on their way together

// The lower half of A^T A + mu I (S, S), row after row. A warp owns tiles of 16 rows and 32 columns, of which a lane
// has every fourth row and every eighth column; beyond the edge it repeats the last.
__device__ void damp(const double* A, double mu, double* damped, int S) {
  constexpr int down = 4, across = WARP / down;  // lanes
  constexpr int tile_rows = down * PRODUCT_ROWS, tile_columns = across * PRODUCT_COLUMNS;
  static_assert(tile_columns % tile_rows == 0, "a tile that has nothing of the lower half begins beyond its last row");
  const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  int turn = 0;
  for (int row = 0; row < S; row += tile_rows)
    for (int column = 0; column <= row; column += tile_columns) {
      if (turn++ % POINT_WARPS != warp) continue;
      int i[PRODUCT_ROWS], j[PRODUCT_COLUMNS];
      double sums[PRODUCT_ROWS][PRODUCT_COLUMNS];
#pragma unroll
      for (int r = 0; r < PRODUCT_ROWS; r++) i[r] = min(row + lane / across + r * down, S - 1);
#pragma unroll
      for (int c = 0; c < PRODUCT_COLUMNS; c++) j[c] = min(column + lane % across + c * across, S - 1);
#pragma unroll
      for (int r = 0; r < PRODUCT_ROWS; r++)
#pragma unroll
        for (int c = 0; c < PRODUCT_COLUMNS; c++) sums[r][c] = i[r] == j[c] ? mu : 0.0;
#pragma unroll 1  // for want of registers
      for (int k = 0; k < S; k++) {
        const double* a = A + static_cast<size_t>(k) * S;
        double left[PRODUCT_ROWS], right[PRODUCT_COLUMNS];
#pragma unroll
        for (int r = 0; r < PRODUCT_ROWS; r++) left[r] = a[i[r]];
#pragma unroll
        for (int c = 0; c < PRODUCT_COLUMNS; c++) right[c] = a[j[c]];
#pragma unroll
        for (int r = 0; r < PRODUCT_ROWS; r++)
#pragma unroll
          for (int c = 0; c < PRODUCT_COLUMNS; c++) sums[r][c] = fma(left[r], right[c], sums[r][c]);
      }
#pragma unroll
      for (int r = 0; r < PRODUCT_ROWS; r++)
#pragma unroll
        for (int c = 0; c < PRODUCT_COLUMNS; c++) {
          const int own_row = row + lane / across + r * down, own_column = column + lane % across + c * across;
          if (own_row < S && own_column <= own_row) damped[static_cast<size_t>(own_row) * S + own_column] = sums[r][c];
        }
    }
}

// The lower half of a positive definite matrix (S, S), row after row, becomes its Cholesky factor L, and b (S) the
// solution, L y = b being solved column by column as these are made. `made` (S), shared: the newest column of L. A
// matrix that is not positive gives NaN.
__device__ void solve(double* matrix, double* b, double* made, int S) {
  for (int k = 0; k < S; k++) {
    const double pivot = sqrt(matrix[static_cast<size_t>(k) * S + k]), y = b[k] / pivot;
    __syncthreads();  // everybody has read them
    for (int i = k + threadIdx.x; i < S; i += POINT_THREADS) {
      const double element = i == k ? pivot : matrix[static_cast<size_t>(i) * S + k] / pivot;
      matrix[static_cast<size_t>(i) * S + k] = made[i] = element;
      b[i] = i == k ? y : b[i] - element * y;
    }
    __syncthreads();
    // A lane loads elements of several rows before it stores any: the compiler can't tell that they are different ones.
    for (int first = k + 1 + threadIdx.x / WARP; first < S; first += UPDATED_ROWS * POINT_WARPS) {
      double* rows[UPDATED_ROWS];
      double left[UPDATED_ROWS];
#pragma unroll
      for (int r = 0; r < UPDATED_ROWS; r++) {
        const int i = first + r * POINT_WARPS < S ? first + r * POINT_WARPS : first;  // a row of this warp
        rows[r] = matrix + static_cast<size_t>(i) * S;
        left[r] = made[i];
      }
      const int last = min(first + (UPDATED_ROWS - 1) * POINT_WARPS, S - 1);
      for (int j = k + 1 + threadIdx.x % WARP; j <= last; j += WARP) {
        const double right = made[j];
        double elements[UPDATED_ROWS];
#pragma unroll
        for (int r = 0; r < UPDATED_ROWS; r++) elements[r] = rows[r][j];  // of the upper half too: not stored
#pragma unroll
        for (int r = 0; r < UPDATED_ROWS; r++) {
          const int i = first + r * POINT_WARPS;
          if (i < S && j <= i) rows[r][j] = elements[r] - left[r] * right;
        }
      }
    }
    __syncthreads();
  }
  for (int k = S - 1; k >= 0; k--) {  // L^T s = y
    const double s = b[k] / matrix[static_cast<size_t>(k) * S + k];
    __syncthreads();
    if (threadIdx.x == 0) b[k] = s;
    for (int i = threadIdx.x; i < k; i += POINT_THREADS) b[i] -= matrix[static_cast<size_t>(k) * S + i] * s;
    __syncthreads();
  }
}

// parameters (N, stride) float32; networks (M): of each start; states (M, S), in and out; inputs (M, D); limits (S):
// the search stays within; work (M, 2, S, S); q_out (M); taken_out (M): iterations; rules (M)
template <class Cell>
__global__ void __launch_bounds__(POINT_THREADS, 4)  // blocks beside each other: at most 128 registers
    levenberg_marquardt(const float* __restrict__ parameters, const int* __restrict__ networks, double* states,
                        const double* __restrict__ inputs, const double* __restrict__ limits, double* work,
                        double* __restrict__ q_out, int* __restrict__ taken_out, const Rule* __restrict__ rules,
                        double gate_bias, int stride, int n, int D, int iterations, int patience) {
  DYNAMIC_SHARED(double, shared);
  const size_t point = blockIdx.x;
  const int S = Cell::states * n;
  const Rule rule = rules[point];
  parameters += static_cast<size_t>(networks[point]) * stride;
  states += point * S;
  double* A = work + point * 2 * S * S;
  double* damped = A + static_cast<size_t>(S) * S;
  Point<Cell> at(shared, n, D);
  double* next = at.rest(n);                                    // F(h)
  double* factors = next + S;                                   // of the Jacobian, at least S
  double* h = factors + Cell::states * (at.G + Cell::states) * n;  // the best state so far
  double* r = h + S;                                            // its residual
  double* step = r + S;
  double* partial = step + S;
  at.take(states, inputs + point * D, n, D);
  at.step(parameters, gate_bias, next, n, D);

  // q of the state that `at` stands at, and |h|^2
  const auto residual = [&](double& squares) {
    double q = 0.0, norm = 0.0;
    for (int u = threadIdx.x; u < S; u += POINT_THREADS) {
      const double off = next[u] - at.state[u];
      q += off * off;
      norm += at.state[u] * at.state[u];
    }
    squares = sum_of_block(norm, partial);
    return 0.5 * sum_of_block(q, partial);
  };
  const auto keep = [&]() {
    for (int u = threadIdx.x; u < S; u += POINT_THREADS) h[u] = at.state[u], r[u] = next[u] - at.state[u];
    __syncthreads();
  };

  double squares, q = residual(squares), mu = rule.start;
  keep();
  int idle = 0, taken = 0;
  bool fresh = true;  // `at` stands at h, and A is to be made anew
  while (taken < iterations && isfinite(q) && q > fmax(rule.tolerance * (1.0 + squares), rule.enough) &&
         idle < patience) {
    if (fresh) {
      at.jacobian(parameters, gate_bias, next, factors, n, D, n, [&](int row, int column, double value) {
        A[static_cast<size_t>(row) * S + column] = (row == column) - value;
      });
      __syncthreads();
    }
    damp(A, mu, damped, S);
    for (int i = threadIdx.x; i < S; i += POINT_THREADS) {
      double sum = 0.0;
      for (int k = 0; k < S; k++) sum = fma(A[static_cast<size_t>(k) * S + i], r[k], sum);
      step[i] = sum;
    }
    __syncthreads();
    solve(damped, step, factors, S);  // which no Jacobian needs now
    for (int u = threadIdx.x; u < S; u += POINT_THREADS) {
      const double moved = h[u] + step[u], limit = limits[u];
      at.state[u] = moved > limit ? limit : (moved < -limit ? -limit : moved);  // a NaN stays one
    }
    __syncthreads();
    at.step(parameters, gate_bias, next, n, D);
    double new_squares;
    const double new_q = residual(new_squares);
    taken++;
    fresh = new_q < q;
    idle = new_q < (1.0 - rule.flat) * q ? 0 : idle + 1;
    if (fresh) {
      q = new_q, squares = new_squares;
      keep();
      mu = fmax(mu / 5.0, rule.floor);
    } else {
      mu = fmin(mu * 4.0, rule.most);
    }
  }
  for (int u = threadIdx.x; u < S; u += POINT_THREADS) states[u] = h[u];
  if (threadIdx.x == 0) q_out[point] = q, taken_out[point] = taken;
}

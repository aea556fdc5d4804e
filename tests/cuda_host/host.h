// Runs CUDA kernels on the processor, from the same sources as a GPU: a block at a time, each of its threads a fiber
// that yields at barriers. Included before the kernels (module.py does); shared memory is poisoned with NaN, its end is
// guarded, and a block whose threads wait at different barriers or for ever is an error.
//
// What a wrong kernel does on a GPU hangs on timing. Here it hangs on two settings, of which none finds everything:
//   order    in which threads run between two barriers, and blocks: 0 forward, 1 backward, each warp as far as it gets;
//            2 at random, one step of each thread after the other
//   copies   whether asynchronous copies happen when issued (0) or as late as they may (1)
// Races between threads do not hang on these where races.h looks for them.
// Not modelled: missing memory fences, limits of a launch, time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "races.h"
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#define FASTRNN_HOST 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after the other
#define threadIdx (host::current->thread)
#define blockIdx (host::block.index)
#define blockDim (host::block.shape)
#define gridDim (host::block.grid)
#define __syncthreads() host::block_barrier(__LINE__)
#define __syncwarp() host::warp_barrier()

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace host {

constexpr int WARP = 32;
constexpr size_t STACK = 128 << 10, GUARD = 256;

struct Index {
  unsigned x, y, z;
};

struct Warp {
  alignas(16) unsigned char slots[WARP][64];
  int alive = 0, arrived = 0;
  unsigned generation = 0;
};

struct Copy {
  void* to;
  const void* from;
  size_t size;
  int group;
};

struct Fiber {
  Index thread;
  int lane;
  Warp* warp;
  bool finished = false, at_block = false, at_warp = false;
  unsigned generation = 0;  // of the barrier it waits at
  std::vector<Copy> copies;
  int groups = 0;
#if defined(__x86_64__)
  void* stack_pointer;
#else
  ucontext_t context;
#endif
};

struct Block {
  Index index, shape, grid;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  int alive = 0, arrived = 0, line = 0;
  unsigned generation = 0;
  void* shared = nullptr;
};

static Fiber* current;
static Block block;
static std::string error;
static int order_of_threads = 0, late_copies = 1;
static std::mt19937 random_order;
static void (*kernel_body)(void**);
static void** kernel_arguments;

// ------------------------------------------------------------------------------------------------------- fibers

#if defined(__x86_64__)
// Saves the registers a call must keep, and the stack; takes the other's (System V calling convention).
extern "C" void fastrnn_switch(void** save, void* take);
__asm__(
    ".text\n.weak fastrnn_switch\n.type fastrnn_switch,@function\nfastrnn_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size fastrnn_switch,.-fastrnn_switch\n");
static void* scheduler;
inline void to_scheduler() { fastrnn_switch(&current->stack_pointer, scheduler); }
inline void to_fiber(Fiber& fiber) { fastrnn_switch(&scheduler, fiber.stack_pointer); }
inline void prepare(Fiber& fiber, unsigned char* stack, void (*start)()) {
  void** top = reinterpret_cast<void**>(stack + STACK);
  *--top = nullptr;  // where `start` would return to
  *--top = reinterpret_cast<void*>(start);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  fiber.stack_pointer = top;
}
#else
static ucontext_t scheduler;
inline void to_scheduler() { swapcontext(&current->context, &scheduler); }
inline void to_fiber(Fiber& fiber) { swapcontext(&scheduler, &fiber.context); }
inline void prepare(Fiber& fiber, unsigned char* stack, void (*start)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, start, 0);
}
#endif

inline void fail(const std::string& what) {
  if (error.empty()) error = what;
}
inline unsigned thread_number() { return current->thread.x; }

inline void open_barrier() {
  block.arrived = 0;
  block.generation++;
  watch_barrier();
}

// Barriers count the threads that have not finished.
inline void block_barrier(int line) {
  Unwatched unwatched;
  if (block.arrived > 0 && block.line != line)
    fail("threads of a block wait at different barriers: lines " + std::to_string(block.line) + " and " +
         std::to_string(line));
  block.line = line;
  if (++block.arrived == block.alive) {
    open_barrier();
    return;
  }
  current->at_block = true;
  current->generation = block.generation;
  to_scheduler();
  current->at_block = false;
}

inline void warp_barrier() {
  Unwatched unwatched;
  Warp& warp = *current->warp;
  if (++warp.arrived == warp.alive) {
    warp.arrived = 0;
    warp.generation++;
    return;
  }
  current->at_warp = true;
  current->generation = warp.generation;
  to_scheduler();
  current->at_warp = false;
}

inline void fiber_main() {
  run_watched(kernel_body, kernel_arguments);
  Fiber& fiber = *current;
  if (!fiber.copies.empty()) fail("a thread ends with asynchronous copies that it never waited for");
  fiber.finished = true;
  block.alive--;
  fiber.warp->alive--;
  if (block.alive && block.arrived == block.alive) open_barrier();
  if (fiber.warp->alive && fiber.warp->arrived == fiber.warp->alive) fiber.warp->arrived = 0, fiber.warp->generation++;
  to_scheduler();
}

inline bool waits(const Fiber& fiber) {
  return (fiber.at_block && block.generation == fiber.generation) ||
         (fiber.at_warp && fiber.warp->generation == fiber.generation);
}

inline void run_block(unsigned char* stacks, size_t shared_bytes) {
  const int count = block.shape.x;
  block.fibers.assign(count, Fiber());
  block.warps.assign((count + WARP - 1) / WARP, Warp());
  block.alive = count;
  block.arrived = 0;
  std::memset(block.shared, 0xFF, shared_bytes);  // NaN in any float type
  watch_block();
  std::vector<int> order(count);
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stacks, count * STACK);  // the block before has left its frames there
#endif
  for (int i = 0; i < count; i++) {
    Fiber& fiber = block.fibers[i];
    fiber.thread = {unsigned(i), 0, 0};
    fiber.lane = i % WARP;
    fiber.warp = &block.warps[i / WARP];
    fiber.warp->alive++;
    prepare(fiber, stacks + i * STACK, fiber_main);
    order[i] = order_of_threads == 1 ? count - 1 - i : i;
  }
  for (int left = count; left && error.empty();) {
    bool progress = false;
    if (order_of_threads == 2) std::shuffle(order.begin(), order.end(), random_order);
    const int group = order_of_threads == 2 ? count : WARP;  // a warp goes on as long as it can, far ahead of the others
    for (int first = 0; first < count; first += group)
      for (bool again = true; again;) {
        again = false;
        for (int j = first; j < std::min(first + group, count); j++) {
          Fiber& fiber = block.fibers[order[j]];
          if (fiber.finished || waits(fiber)) continue;
          current = &fiber;
          progress = again = true;
          to_fiber(fiber);
          left -= fiber.finished;
        }
        again = again && group == WARP && error.empty();
      }
    if (!progress) fail("threads wait for ever at a barrier that others have left out");
  }
}

// nullptr, or what is wrong.
inline const char* launch(void (*body)(void**), const unsigned* grid, unsigned threads, size_t shared_bytes,
                          void** arguments) {
  kernel_body = body;
  kernel_arguments = arguments;
  error.clear();
  block.grid = {grid[0], grid[1], grid[2]};
  block.shape = {threads, 1, 1};
  unsigned char* stacks = static_cast<unsigned char*>(std::aligned_alloc(64, threads * STACK));
#if defined(__SANITIZE_ADDRESS__)
  const size_t guard = 0;  // the sanitizer watches the end
#else
  const size_t guard = GUARD;
#endif
  const size_t size = (shared_bytes + 15) / 16 * 16;
  unsigned char* shared = static_cast<unsigned char*>(std::aligned_alloc(16, size + guard + 16));
  if (guard) std::memset(shared + shared_bytes, 0xA5, guard);
  block.shared = shared;
  watch_launch(stacks, threads * STACK, shared, shared_bytes);
  const unsigned blocks = grid[0] * grid[1] * grid[2];
  for (unsigned i = 0; i < blocks && error.empty(); i++) {
    const unsigned index = order_of_threads == 1 ? blocks - 1 - i : i;
    block.index = {index % grid[0], index / grid[0] % grid[1], index / grid[0] / grid[1]};
    run_block(stacks, shared_bytes);
    for (size_t j = 0; j < guard; j++)
      if (shared[shared_bytes + j] != 0xA5) fail("a write behind the end of dynamic shared memory");
  }
  std::free(stacks);
  std::free(shared);
  return error.empty() ? nullptr : error.c_str();
}

inline void* dynamic_shared() { return block.shared; }

// ------------------------------------------------------------------------------------------ asynchronous copies

inline void copy_async(void* to, const void* from, size_t size) {
  Unwatched unwatched;
  watch_copy(to, from, size);
  if (reinterpret_cast<uintptr_t>(to) % size || reinterpret_cast<uintptr_t>(from) % size)
    fail("an asynchronous copy is not aligned to " + std::to_string(size) + " bytes");
  current->copies.push_back({to, from, size, current->groups});
  if (!late_copies) std::memcpy(to, from, size);
}
inline void commit_copies() {
  Unwatched unwatched;
  current->groups++;
}
// Only the groups that must have arrived do.
inline void wait_copies(int pending) {
  Unwatched unwatched;
  std::vector<Copy> left;
  for (const Copy& copy : current->copies) {
    if (copy.group >= current->groups - pending) {
      left.push_back(copy);
      continue;
    }
    if (late_copies) std::memcpy(copy.to, copy.from, copy.size);
    watch_arrival(copy.to, copy.size);
  }
  current->copies.swap(left);
}

// -------------------------------------------------------------------------------------------- threads of a warp

// Everybody's `mine` in the order of lanes.
template <class T>
inline void gather(const T& mine, T (&all)[WARP]) {
  static_assert(sizeof(T) <= sizeof(Warp::slots[0]), "a slot holds 64 bytes");
  Unwatched unwatched;
  Warp& warp = *current->warp;
  std::memcpy(warp.slots[current->lane], &mine, sizeof(T));
  warp_barrier();
  for (int lane = 0; lane < WARP; lane++) std::memcpy(&all[lane], warp.slots[lane], sizeof(T));
  warp_barrier();
}

// ------------------------------------------------------------------------------------------------- tensor cores

inline unsigned bits_of(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
// A bf16 is the upper half of a float; rounded to nearest, ties to even.
inline unsigned bf16_bits(float x) {
  const unsigned bits = bits_of(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFFu;
  return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}
inline float from_bf16(unsigned bits) {
  bits <<= 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// ldmatrix.x4: of matrix j, of whose rows lanes 8 j to 8 j + 7 give the addresses, two neighbours of row lane / 4, or of
// column lane / 4.
inline void load_matrices(unsigned (&r)[4], const unsigned short* row, bool transposed) {
  typedef unsigned short __attribute__((may_alias)) Half;  // of memory that is written by pairs
  if (reinterpret_cast<uintptr_t>(row) % 16) fail("a row of a matrix is not aligned to 16 bytes");
  const Half* rows[WARP];
  gather<const Half*>(row, rows);
  const int across = current->lane / 4, along = current->lane % 4 * 2;
  for (int j = 0; j < 4; j++) {
    const Half* const* matrix = rows + 8 * j;
    const unsigned low = transposed ? matrix[along][across] : matrix[across][along];
    const unsigned high = transposed ? matrix[along + 1][across] : matrix[across][along + 1];
    r[j] = low | high << 16;
  }
}

// A sum of 17 numbers about as Hopper's tensor cores make it, after Fasi et al. 2021 and Khattak and Mikaitis 2025:
// shifted to the exponent of the largest, cut to two bits more than a float has, added, and cut to a float: never
// rounded. Older ones add fewer at a time and keep fewer bits.
inline float cut_sum(const double (&terms)[17]) {
  double largest = 0.0, sum = 0.0;
  for (double term : terms) {
    if (!std::isfinite(term)) return std::accumulate(terms, terms + 17, 0.0);
    largest = std::max(largest, std::fabs(term));
  }
  if (largest == 0.0) return 0.0f;
  const double unit = std::ldexp(1.0, std::ilogb(largest) - 25);
  for (double term : terms) sum += std::trunc(term / unit) * unit;  // exact
  if (std::fabs(sum) > std::numeric_limits<float>::max()) return std::copysign(INFINITY, sum);
  const float nearest = static_cast<float>(sum);
  return std::fabs(nearest) > std::fabs(sum) ? std::nextafter(nearest, 0.0f) : nearest;
}

// mma.m16n8k16.
inline void multiply_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  struct Operands {
    unsigned a[4], b[2];
  };
  const Operands mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  Operands all[WARP];
  gather(mine, all);
  const auto half = [](unsigned pair, int k) { return from_bf16(k & 1 ? pair >> 16 : pair & 0xFFFFu); };
  const int g = current->lane / 4, q = current->lane % 4;
  for (int e = 0; e < 4; e++) {
    const int row = g + e / 2 * 8, column = 2 * q + e % 2;
    double terms[17] = {};
    for (int k = 0; k < 16; k++) {
      const double left = half(all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k);
      terms[k] = left * half(all[column * 4 + k % 8 / 2].b[k / 8], k);
    }
    terms[16] = c[e];
    c[e] = cut_sum(terms);
  }
}

// --------------------------------------------------------------------------------------------- calls from Python

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<typename std::remove_reference<A>::type*>(arguments[I])...);
}
template <class... A>
inline size_t sizes_of(void (*)(A...), size_t* sizes) {
  size_t all[] = {sizeof(A)...};
  std::copy(all, all + sizeof...(A), sizes);
  return sizeof...(A);
}
template <class... A>
constexpr std::index_sequence_for<A...> indices(void (*)(A...)) {
  return {};
}

}  // namespace host

// Entry points of one kernel: launch it, and the sizes of its arguments.
#define HOST_ENTRY(name, ...)                                                                             \
  static void body_##name(void** arguments) {                                                             \
    host::call(&__VA_ARGS__, arguments, decltype(host::indices(&__VA_ARGS__)){});                          \
  }                                                                                                       \
  extern "C" __attribute__((visibility("default"))) const char* launch_##name(                            \
      const unsigned* grid, unsigned threads, size_t shared, void** arguments) {                          \
    return host::launch(body_##name, grid, threads, shared, arguments);                                   \
  }                                                                                                       \
  extern "C" __attribute__((visibility("default"))) size_t sizes_##name(size_t* sizes) {                  \
    return host::sizes_of(&__VA_ARGS__, sizes);                                                           \
  }

extern "C" __attribute__((visibility("default"))) void configure(int order, int late, unsigned seed) {
  host::order_of_threads = order;
  host::late_copies = late;
  host::random_order.seed(seed);
}

template <class T>
inline T __shfl_xor_sync(unsigned, T value, int mask) {
  T all[host::WARP];
  host::gather(value, all);
  return all[host::current->lane ^ mask];
}

inline int __float_as_int(float x) {
  int bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __int_as_float(int bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline unsigned __float_as_uint(float x) { return host::bits_of(x); }
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
using std::isfinite;
using std::min;

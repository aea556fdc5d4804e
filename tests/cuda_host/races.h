// Races between the threads of a kernel, found whatever the order in which they run: compiled with -fsanitize=thread, the
// compiler calls a function before every access to memory; here these functions, and not ThreadSanitizer's library, look
// up who was there before. Included by host.h.
//
// It is an error if two threads of a block touch a place between two barriers, or threads of two blocks in one launch
// where no memory of the blocks' own is, and one of them writes; if anybody touches a place that an asynchronous copy is
// still on its way to; and if shared memory is read that the block has not written. Barriers of a warp don't count.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <unordered_map>
#include <vector>

namespace host {

inline void fail(const std::string& what);
inline unsigned thread_number();

#if !defined(__SANITIZE_THREAD__)

struct Unwatched {
  ~Unwatched() {}
};
inline void watch_launch(const void*, size_t, const void*, size_t) {}
inline void watch_block() {}
inline void watch_barrier() {}
inline void watch_copy(const void*, const void*, size_t) {}
inline void watch_arrival(const void*, size_t) {}
inline void run_watched(void (*body)(void**), void** arguments) { body(arguments); }

#else

static bool watching = false;  // whether what touches memory is a kernel, and not what stands in for the GPU
#define UNINSTRUMENTED __attribute__((noinline, no_sanitize("thread")))
UNINSTRUMENTED void watch(bool on) { watching = on; }
struct Unwatched {
  bool before = watching;
  UNINSTRUMENTED Unwatched() { watching = false; }
  ~Unwatched() { watch(before); }
};

constexpr int GRAIN = 2, PAGE = 4096;  // bytes that are told apart; of one entry of the table of places

extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start[], _end[];  // of this library

struct Access {
  unsigned interval = 0, thread = 0;         // the last, and whose it was; 0: nobody's in this launch
  bool several = false, elsewhere = false;   // whether of further threads in that interval; of earlier blocks
  const char* code = nullptr;
};
struct Place {
  Access write, read;
  bool copying = false;
};
struct Region {
  const char *begin = nullptr, *end = nullptr;
  bool has(const char* p) const { return p >= begin && p < end; }
};

static std::unordered_map<uintptr_t, std::vector<Place>> pages;
static Region stacks_of_threads, dynamic_memory;
static unsigned interval = 0, first_of_block = 0;  // between two barriers: number, and that of the block's first

inline void watch_launch(const void* stacks, size_t stack_bytes, const void* dynamic, size_t dynamic_bytes) {
  const auto region = [](const void* begin, size_t size) {
    return Region{static_cast<const char*>(begin), static_cast<const char*>(begin) + size};
  };
  stacks_of_threads = region(stacks, stack_bytes), dynamic_memory = region(dynamic, dynamic_bytes);
  pages.clear();
  interval = 0;
}
inline void watch_block() { first_of_block = ++interval; }
inline void watch_barrier() { interval++; }

inline Place& place_of(uintptr_t address) {
  static uintptr_t number = 0;
  static std::vector<Place>* page = nullptr;
  if (pages.empty() || number != address / PAGE) {
    number = address / PAGE;
    page = &pages[number];
    page->resize(PAGE / GRAIN);
  }
  return (*page)[address % PAGE / GRAIN];
}

inline std::string line_of(const char* code) {  // module.py makes it a line of a file
  char text[32];
  std::snprintf(text, sizeof text, "<+0x%zx>", static_cast<size_t>(code - __ehdr_start));
  return text;
}

// A thread of a kernel reads or writes, from `code`.
inline void touch(const void* address, size_t size, bool writes, const char* code) {
  const char* const begin = static_cast<const char*>(address);
  if (stacks_of_threads.has(begin)) return;
  const unsigned me = thread_number();
  const bool shared = dynamic_memory.has(begin), own = shared || Region{__ehdr_start, _end}.has(begin);
  const auto conflicts = [&](const Access& before) {
    if (!own && (before.elsewhere || (before.interval && before.interval < first_of_block))) return true;
    return before.interval == interval && (before.several || before.thread != me);
  };
  const auto complain = [&](const char* what, const Access& before) {
    fail(std::string(what) + ": thread " + std::to_string(me) + " at " + line_of(code) + ", " +
         (before.several ? "several threads" : "thread " + std::to_string(before.thread)) + " before it at " +
         line_of(before.code));
  };
  const auto first = reinterpret_cast<uintptr_t>(begin), end = first + size;
  for (auto grain = first / GRAIN; grain * GRAIN < end; grain++) {
    Place& place = place_of(grain * GRAIN);
    if (place.copying) complain("memory is touched while a copy is on its way to it", place.write);
    if (conflicts(place.write)) complain("a race with a write", place.write);
    if (writes && conflicts(place.read)) complain("a race with a read", place.read);
    if (!writes && shared && place.write.interval < first_of_block)
      fail("shared memory is read that the block has not written: thread " + std::to_string(me) + " at " +
           line_of(code));
    Access& last = writes ? place.write : place.read;
    last.elsewhere = !own && (last.elsewhere || (last.interval && last.interval < first_of_block));
    last.several = last.interval == interval && (last.several || last.thread != me);
    last.interval = interval, last.thread = me, last.code = code;
  }
}

// An asynchronous copy begins, and arrives.
__attribute__((noinline)) void watch_copy(const void* to, const void* from, size_t size) {
  const char* const code = static_cast<const char*>(__builtin_return_address(0));
  touch(from, size, false, code);
  touch(to, size, true, code);
  for (size_t i = 0; i < size; i += GRAIN) place_of(reinterpret_cast<uintptr_t>(to) + i).copying = true;
}
inline void watch_arrival(const void* to, size_t size) {
  const char* code = nullptr;
  for (size_t i = 0; i < size; i += GRAIN) {
    Place& place = place_of(reinterpret_cast<uintptr_t>(to) + i);
    place.copying = false;
    code = place.write.code;
  }
  touch(to, size, true, code);
}

inline void run_watched(void (*body)(void**), void** arguments) {
  watch(true);
  body(arguments);
  watch(false);
}

// What the compiler calls.
#define WATCHED_BY(name, size, writes, ...)                                                                       \
  extern "C" __attribute__((used, visibility("hidden"), no_sanitize("thread"))) void __tsan_##name(__VA_ARGS__) { \
    if (!watching) return;                                                                                        \
    watching = false;                                                                                             \
    touch(address, size, writes, static_cast<const char*>(__builtin_return_address(0)));                          \
    watching = true;                                                                                              \
  }
#define WATCHED_SIZE(size)                            \
  WATCHED_BY(read##size, size, false, void* address)  \
  WATCHED_BY(write##size, size, true, void* address)
WATCHED_BY(read_range, size, false, void* address, size_t size)
WATCHED_BY(write_range, size, true, void* address, size_t size)
WATCHED_SIZE(1)
WATCHED_SIZE(2)
WATCHED_SIZE(4)
WATCHED_SIZE(8)
WATCHED_SIZE(16)
extern "C" __attribute__((used, visibility("hidden"))) void __tsan_init() {}
extern "C" __attribute__((used, visibility("hidden"))) void __tsan_func_entry(void*) {}
extern "C" __attribute__((used, visibility("hidden"))) void __tsan_func_exit() {}

#endif

}  // namespace host

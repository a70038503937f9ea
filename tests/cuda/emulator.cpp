#include "kernels/cuda/device.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN
#endif
#endif
#ifdef EMULATOR_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {
namespace {

constexpr std::size_t stack_bytes = 128 << 10;

/// Another stack to go on with; tells AddressSanitizer of the change.
struct Fiber {
  ucontext_t context{};  ///< where it begins
  jmp_buf place{};       ///< where it goes on: a jump costs much less than a change of context
  bool begun = false;
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  std::size_t bytes = 0;

  void go_to(Fiber& other) {
    begun = true;
#ifdef EMULATOR_ASAN
    __sanitizer_start_switch_fiber(&fake_stack, other.bottom, other.bytes);
    swapcontext(&context, &other.context);
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
    if (_setjmp(place) != 0) return;
    if (other.begun) _longjmp(other.place, 1);
    setcontext(&other.context);
#endif
  }
};

enum class State { ready, at_block, at_warp, over };

struct Thread : Fiber {
  std::vector<std::byte> stack = std::vector<std::byte>(stack_bytes);
  State state = State::over;
  std::size_t exchanges = 0;  ///< begun; every other one uses the same slots

  Thread();
};

struct Block {
  std::deque<Thread> threads;  ///< of the largest block so far
  std::size_t count = 0;       ///< of this one
  std::vector<std::uint64_t> slots;
  std::vector<std::byte> shared;
  Fiber scheduler;
  const std::function<void()>* work = nullptr;
};
Block block;
std::mt19937 random_order(1);

Thread& current() {
  return block.threads[threadIdx.x];
}

/// A thread of one block after the other.
void body() {
#ifdef EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler.bottom, &block.scheduler.bytes);
#endif
  for (;;) {
    (*block.work)();
    current().state = State::over;
    current().go_to(block.scheduler);
  }
}

Thread::Thread() {
  getcontext(&context);
  context.uc_stack.ss_sp = stack.data();
  context.uc_stack.ss_size = stack.size();
  context.uc_link = nullptr;
  bottom = stack.data();
  bytes = stack.size();
  makecontext(&context, body, 0);
}

void wait(State state) {
  Thread& self = current();
  self.state = state;
  self.go_to(block.scheduler);
}

/// Lets threads [begin, end) go on if all that have not ended wait for each other.
void release(std::size_t begin, std::size_t end, State state) {
  const auto first = block.threads.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto last = block.threads.begin() + static_cast<std::ptrdiff_t>(end);
  const bool all = std::all_of(
      first, last, [&](const Thread& t) { return t.state == state || t.state == State::over; });
  if (!all) return;
  for (auto t = first; t != last; ++t) {
    if (t->state == state) t->state = State::ready;
  }
}

void run_block(unsigned threads) {
  std::fill(block.shared.begin(), block.shared.end(), std::byte{0xFF});
  for (std::size_t i = 0; i < threads; ++i) {
    block.threads[i].state = State::ready;
    block.threads[i].exchanges = 0;
  }
  std::vector<unsigned> order(threads);
  std::iota(order.begin(), order.end(), 0u);
  for (bool some = true; some;) {
    std::shuffle(order.begin(), order.end(), random_order);
    some = false;
    for (const unsigned i : order) {
      if (block.threads[i].state != State::ready) continue;
      some = true;
      threadIdx.x = i;
      block.scheduler.go_to(block.threads[i]);
    }
    for (std::size_t warp = 0; warp < threads; warp += 32) {
      release(warp, std::min<std::size_t>(warp + 32, threads), State::at_warp);
    }
    release(0, threads, State::at_block);
    some = some || std::any_of(order.begin(), order.end(),
                               [](unsigned i) { return block.threads[i].state == State::ready; });
  }
  for (const unsigned i : order) {
    if (block.threads[i].state == State::over) continue;
    std::fputs("a thread of a block waits for others in vain\n", stderr);
    std::abort();
  }
}

}  // namespace

void run(dim3 blocks, unsigned threads, std::size_t shared, const std::function<void()>& thread) {
  block.count = threads;
  while (block.threads.size() < threads) block.threads.emplace_back();
  block.slots.resize(2 * ((threads + 31) / 32 * 32));
  block.shared.resize(shared);
  block.work = &thread;
  gridDim = blocks;
  blockDim = threads;
  for (blockIdx.z = 0; blockIdx.z < blocks.z; ++blockIdx.z) {
    for (blockIdx.y = 0; blockIdx.y < blocks.y; ++blockIdx.y) {
      for (blockIdx.x = 0; blockIdx.x < blocks.x; ++blockIdx.x) run_block(threads);
    }
  }
}

std::byte* shared() {
  return block.shared.data();
}
void wait_for_block() {
  wait(State::at_block);
}
void wait_for_warp() {
  wait(State::at_warp);
}
void begin_exchange() {
  ++current().exchanges;
}
std::uint64_t& slot_of(unsigned lane) {
  return block.slots[2 * (threadIdx.x / 32 * 32 + lane) + current().exchanges % 2];
}
bool takes_part(unsigned lane) {
  const std::size_t i = threadIdx.x / 32 * 32 + lane;
  return i < block.count && block.threads[i].exchanges >= current().exchanges;
}

}  // namespace emulator

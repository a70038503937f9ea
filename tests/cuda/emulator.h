// As much of CUDA C++ as the project's kernels use, on the CPU: a block's threads are fibers that
// take turns, each up to its next barrier. In which order is drawn anew for every launch, so that
// what depends on a barrier that is missing comes out differently.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_blocks, unsigned y_blocks = 1, unsigned z_blocks = 1)
      : x(x_blocks), y(y_blocks), z(z_blocks) {}
};

/// Where the thread that is running stands.
inline dim3 threadIdx(0, 0, 0), blockIdx(0, 0, 0), blockDim(1), gridDim(1);

namespace emulator {

/// Runs `thread` for all threads of all blocks, one block after the other.
void run(dim3 blocks, unsigned threads, std::size_t shared, const std::function<void()>& thread);
/// Shared memory of the block that is running, full of NaN when it began.
std::byte* shared();
/// Waits for all threads of the block, or of the warp, that have not ended.
void wait_for_block();
void wait_for_warp();
/// Begins an exchange between the lanes of the warp: those that are still at the one before have
/// other slots.
void begin_exchange();
/// What a lane puts up for the others in the exchange of the thread that is running.
std::uint64_t& slot_of(unsigned lane);
/// Whether a lane of the warp takes part in that exchange.
bool takes_part(unsigned lane);

template <class T>
T of_lane(T value, unsigned lane) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  begin_exchange();
  std::memcpy(&slot_of(threadIdx.x % 32), &value, sizeof value);
  wait_for_warp();
  T other = value;
  if (takes_part(lane)) std::memcpy(&other, &slot_of(lane), sizeof other);
  return other;
}

}  // namespace emulator

inline void __syncthreads() {
  emulator::wait_for_block();
}
inline void __syncwarp() {
  emulator::wait_for_warp();
}
template <class T>
T __shfl_xor_sync(unsigned, T value, unsigned lanes) {
  return emulator::of_lane(value, (threadIdx.x % 32) ^ lanes);
}
template <class T>
T __shfl_sync(unsigned, T value, unsigned lane) {
  return emulator::of_lane(value, lane % 32);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  emulator::begin_exchange();
  emulator::slot_of(threadIdx.x % 32) = vote ? 1 : 0;
  emulator::wait_for_warp();
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (emulator::takes_part(lane) && emulator::slot_of(lane) != 0) votes |= 1u << lane;
  }
  return votes;
}
inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
/// sum plus the products of four signed bytes of a with those of b.
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 32; i += 8) {
    sum += static_cast<std::int8_t>(a >> i) * static_cast<std::int8_t>(b >> i);
  }
  return sum;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

namespace moebius::kernels::cuda {

template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(emulator::shared());
}

template <class... Parameters, class... Arguments>
Failure launch(void (*kernel)(Parameters...), dim3 blocks, unsigned threads, std::size_t shared,
               Stream, const Arguments&... arguments) {
  emulator::run(blocks, threads, shared, [&] { kernel(arguments...); });
  return nullptr;
}

}  // namespace moebius::kernels::cuda

// What the .cu files include: CUDA where nvcc compiles them; tests compile them as C++ and run
// their blocks on the CPU.
#pragma once

#include "kernels/cuda/kernels.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>

/// Unrolls a loop of constant trip count, so that arrays stay in registers.
#define MOEBIUS_DEVICE_UNROLL _Pragma("unroll")

namespace moebius::kernels::cuda {

extern __shared__ unsigned char block_memory[];

/// The shared memory of a block, of the size given to `launch`.
template <class T>
__device__ T* shared_memory() {
  return reinterpret_cast<T*>(block_memory);
}

/// Queues a kernel over `blocks` of `threads` threads each, with `shared` bytes of shared memory.
template <class... Parameters, class... Arguments>
Failure launch(void (*kernel)(Parameters...), dim3 blocks, unsigned threads, std::size_t shared,
               Stream stream, const Arguments&... arguments) {
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0) return nullptr;
  if (shared > 48 << 10) {  // needs an attribute
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared));
  }
  kernel<<<blocks, threads, shared, static_cast<cudaStream_t>(stream)>>>(arguments...);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace moebius::kernels::cuda
#else
#define MOEBIUS_DEVICE_UNROLL
#include "cuda/emulator.h"
#endif

namespace moebius::kernels::cuda {

inline constexpr unsigned warp_size = 32, whole_warp = 0xFFFFFFFF;

inline unsigned blocks_for(std::int64_t items, std::int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

/// Values in memory as f32.
struct F32 {
  using Stored = float;
  static __device__ float load(float x) { return x; }
  static __device__ float store(float x) { return x; }
};
struct Bf16 {
  using Stored = std::uint16_t;
  static __device__ float load(std::uint16_t x) {
    return __uint_as_float(static_cast<unsigned>(x) << 16);
  }
  /// To the nearest, ties to even.
  static __device__ std::uint16_t store(float x) {
    const unsigned bits = __float_as_uint(x);
    if (x != x) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
    return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
};

/// V neighbours, loaded at once.
template <class T, int V>
struct alignas(V * sizeof(typename T::Stored)) Pack {
  typename T::Stored values[V];
};

/// Calls fn(F32) or fn(Bf16).
template <class Fn>
Failure with_type(ValueType type, Fn fn) {
  if (type == ValueType::f32) return fn(F32{});
  if (type == ValueType::bf16) return fn(Bf16{});
  return "only f32 and bf16 are computed with";
}

template <class T, class Op>
__device__ T reduce_warp(T value, Op op) {
  for (unsigned lane = warp_size / 2; lane > 0; lane /= 2) {
    value = op(value, __shfl_xor_sync(whole_warp, value, lane));
  }
  return value;
}
__device__ inline float sum_of_warp(float value) {
  return reduce_warp(value, [](float a, float b) { return a + b; });
}
__device__ inline float max_of_warp(float value) {
  return reduce_warp(value, [](float a, float b) { return fmaxf(a, b); });
}

/// The sum over all threads of a block, for all of them; `scratch` holds 32 values.
__device__ inline float sum_of_block(float value, float* scratch) {
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  value = sum_of_warp(value);
  __syncthreads();  // the scratch may still be read
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  return sum_of_warp(lane < blockDim.x / warp_size ? scratch[lane] : 0.0f);
}

}  // namespace moebius::kernels::cuda

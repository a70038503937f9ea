// Elementwise kernels. They are bound by memory bandwidth, so successive operations are fused.
#include "kernels/cuda/device.h"

namespace moebius::kernels::cuda {
namespace {

constexpr unsigned threads = 256;

__device__ float activated(Activation kind, float x) {
  switch (kind) {
    case Activation::silu:
      return x / (1 + expf(-x));
    case Activation::gelu_tanh:  // (1 + tanh z) / 2 is the sigmoid of 2 z
      return x / (1 + expf(-1.59576912f * (x + 0.044715f * x * x * x)));
    case Activation::gelu_erf:
      return 0.5f * x * (1 + erff(x * 0.707106781f));
    case Activation::relu:
      return x < 0 ? 0 : x;
  }
  return x;
}

template <class T>
__global__ void activate_rows(ActivateRows a) {
  const std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= a.rows * a.columns) return;
  const std::int64_t row = i / a.columns, c = i % a.columns, from = row * a.ldx + c;
  using Stored = typename T::Stored;
  const float up = T::load(static_cast<const Stored*>(a.up)[from]);
  const float h = a.gate == nullptr
                      ? activated(a.kind, up)
                      : activated(a.kind, T::load(static_cast<const Stored*>(a.gate)[from])) * up;
  static_cast<Stored*>(a.h)[row * a.ldh + c] = T::store(h);
}

template <class T>
__global__ void combine_rows(Combine a) {
  using Stored = typename T::Stored;
  const std::int64_t t = blockIdx.x, c = std::int64_t{blockIdx.y} * threads + threadIdx.x;
  if (c >= a.columns) return;
  float sum = 0;
  for (std::int64_t k = 0; k < a.top_k; ++k) {
    const std::int64_t at = t * a.top_k + k;
    sum += a.weights[at] * T::load(static_cast<const Stored*>(a.x)[a.places[at] * a.columns + c]);
  }
  const std::int64_t at = t * a.columns + c;
  if (a.shared != nullptr) sum += T::load(static_cast<const Stored*>(a.shared)[at]);
  const float residual =
      a.residual == nullptr ? 0 : T::load(static_cast<const Stored*>(a.residual)[at]);
  static_cast<Stored*>(a.y)[at] = T::store(residual + a.multiplier * sum);
}

template <class T, class W>
__global__ void norm_rows(NormRows a) {
  using Stored = typename T::Stored;
  auto* room = shared_memory<float>();
  const auto* x = static_cast<const Stored*>(a.x) + blockIdx.x * a.columns;
  auto* y = static_cast<Stored*>(a.y) + blockIdx.x * a.columns;
  const auto columns = static_cast<float>(a.columns);
  float mean = 0;
  if (a.centred) {
    for (std::int64_t c = threadIdx.x; c < a.columns; c += threads) mean += T::load(x[c]);
    mean = sum_of_block(mean, room) / columns;
  }
  float squares = 0;
  for (std::int64_t c = threadIdx.x; c < a.columns; c += threads) {
    const float off = T::load(x[c]) - mean;
    squares += off * off;
  }
  const float scale = 1 / sqrtf(sum_of_block(squares, room) / columns + a.eps);
  const auto* weight = static_cast<const typename W::Stored*>(a.weight);
  const auto* bias = static_cast<const typename W::Stored*>(a.bias);
  for (std::int64_t c = threadIdx.x; c < a.columns; c += threads) {
    const float scaled = (T::load(x[c]) - mean) * scale * W::load(weight[c]);
    y[c] = T::store(bias == nullptr ? scaled : scaled + W::load(bias[c]));
  }
}

/// A block per row; its threads loop over pairs.
template <class T>
__global__ void rotate_rows(RotateRows a) {
  using Stored = typename T::Stored;
  const std::int64_t stays = a.dim - 2 * a.half;
  const auto* from = static_cast<const Stored*>(a.x) + blockIdx.x * a.ldx;
  auto* to = static_cast<Stored*>(a.y) + blockIdx.x * a.ldy;
  for (std::int64_t i = threadIdx.x; i < a.heads * stays; i += threads) {
    const std::int64_t at = i / stays * a.dim + i % stays;
    to[at] = from[at];
  }
  for (std::int64_t i = threadIdx.x; i < a.heads * a.half; i += threads) {
    const std::int64_t pair = i % a.half, begin = i / a.half * a.dim + stays;
    const Stored* x = from + begin;
    const float cos = a.cos[blockIdx.x * a.half + pair], sin = a.sin[blockIdx.x * a.half + pair];
    const float u = T::load(x[a.interleaved ? 2 * pair : pair]);
    const float v = T::load(x[a.interleaved ? 2 * pair + 1 : a.half + pair]);
    to[begin + pair] = T::store(u * cos - v * sin);
    to[begin + a.half + pair] = T::store(v * cos + u * sin);
  }
}

}  // namespace

Failure activate(const ActivateRows& args, Stream stream) {
  return with_type(args.type, [&](auto type) {
    return launch(activate_rows<decltype(type)>, blocks_for(args.rows * args.columns, threads),
                  threads, 0, stream, args);
  });
}

Failure combine(const Combine& args, Stream stream) {
  const dim3 blocks(static_cast<unsigned>(args.tokens), blocks_for(args.columns, threads));
  return with_type(args.type, [&](auto type) {
    return launch(combine_rows<decltype(type)>, blocks, threads, 0, stream, args);
  });
}

Failure norm(const NormRows& args, Stream stream) {
  return with_type(args.type, [&](auto type) {
    return with_type(args.weights, [&](auto weights) {
      return launch(norm_rows<decltype(type), decltype(weights)>, static_cast<unsigned>(args.rows),
                    threads, warp_size * sizeof(float), stream, args);
    });
  });
}

Failure rotate(const RotateRows& args, Stream stream) {
  return with_type(args.type, [&](auto type) {
    return launch(rotate_rows<decltype(type)>, static_cast<unsigned>(args.rows), threads, 0, stream,
                  args);
  });
}

}  // namespace moebius::kernels::cuda

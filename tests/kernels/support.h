// What the tests of kernels share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "base/random.h"
#include "kernels/kernels.h"
#include "kernels/routing.h"

namespace moebius::kernels {

inline std::size_t index(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

/// Values of a store_non_temporal that differs from all others.
inline std::vector<float> normal(std::int64_t count, std::uint64_t store_non_temporal,
                                 double deviation = 1) {
  const Random random(7, store_non_temporal);
  std::vector<float> out(index(count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(deviation * random.normal(i));
  }
  return out;
}

inline double act(Activation kind, double x) {
  switch (kind) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::relu:
      break;
  }
  return std::max(x, 0.0);
}

/// Of the values from the expected ones, relative to their norm; of a norm of 0, very far or 0.
template <class T>
double distance(const std::vector<T>& values, const std::vector<double>& expected) {
  EXPECT_EQ(values.size(), expected.size());
  double off = 0, all = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    off += std::pow(values[i] - expected[i], 2);
    all += std::pow(expected[i], 2);
  }
  return std::sqrt(off) / (std::sqrt(all) + 1e-12);
}

using Values = std::vector<double>;

/// Values stored as f32 or bf16.
struct Stored {
  ValueType type;
  std::vector<std::byte> bytes;

  template <class T>
  Stored(ValueType as, const std::vector<T>& values)
      : type(as), bytes(values.size() * static_cast<std::size_t>(size_of(as))) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      store_weight(bytes.data(), dtype(), i, static_cast<float>(values[i]));
    }
  }
  Stored(ValueType as, std::int64_t count) : Stored(as, std::vector<float>(index(count), -7.0f)) {}

  DType dtype() const { return type == ValueType::f32 ? DType::f32 : DType::bf16; }
  Values values() const {
    Values out(bytes.size() / index(size_of(type)));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = load_weight(bytes.data(), dtype(), i);
    return out;
  }
};

using Ids = std::vector<std::int32_t>;

/// What the CPU's `route` gives for tokens with these logits.
struct Routed {
  Ids ids;
  std::vector<float> weights;

  Routed(const RoutingRule& rule, std::int64_t tokens)
      : ids(index(tokens * rule.top_k), -1), weights(index(tokens * rule.top_k)) {}
};
inline Routed routed(const RoutingRule& rule, const std::vector<float>& logits,
                     const float* correction, const float* scale) {
  const std::int64_t tokens = std::ssize(logits) / rule.experts;
  Routed out(rule, tokens);
  std::vector<float> work(index(3 * rule.experts));
  route(rule, logits.data(), tokens, correction, scale, work.data(), out.ids.data(),
        out.weights.data());
  return out;
}

/// Calls fn(table) for every instruction set that this processor has.
template <class Fn>
void for_each_table(Fn fn) {
  for (const char* isa : {"ref", "avx2", "avx512", "avx512bf16"}) {
    SCOPED_TRACE(isa);
    if (const KernelTable* table = table_for(isa)) fn(*table);
  }
}

}  // namespace moebius::kernels

// What the tests of kernels share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "base/random.h"
#include "kernels/kernels.h"

namespace moebius::kernels {

inline std::size_t index(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

/// Values of a stream that differs from all others.
inline std::vector<float> normal(std::int64_t count, std::uint64_t stream, double deviation = 1) {
  const Random random(7, stream);
  std::vector<float> out(index(count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(deviation * random.normal(i));
  }
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

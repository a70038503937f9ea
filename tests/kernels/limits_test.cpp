#include "kernels/limits.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/support.h"

namespace moebius::kernels {
namespace {

TEST(Limits, EveryTableMeasuresSomething) {
  for_each_table([](const KernelTable& table) {
    for (int type = 0; type < packed_types; ++type) {
      EXPECT_GT(table.peak(static_cast<PackedType>(type), 100), 0);
    }
  });
  Executor executor(2);
  const Limits limits = LimitMeter(*table(), executor).sample();
  for (const double figure :
       {limits.read_gbps, limits.f32_gflops, limits.bf16_gflops, limits.int8_gops}) {
    EXPECT_GT(figure, 0.01);
    EXPECT_LT(figure, 1e7);
  }
}

TEST(Limits, ReadingReadsEveryWord) {
  for_each_table([](const KernelTable& table) {
    struct alignas(64) Line {
      std::uint64_t words[8];
    };
    std::vector<Line> lines(37);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < lines.size() * 8; ++i) {
      lines[i / 8].words[i % 8] = i * i;
      sum += i * i;
    }
    EXPECT_EQ(table.read(lines.data(), 37 * 64), sum);
  });
}

}  // namespace
}  // namespace moebius::kernels

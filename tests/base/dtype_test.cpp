#include "base/dtype.h"

#include <gtest/gtest.h>
#include <immintrin.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"

namespace moebius {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

[[gnu::target("f16c")]] std::uint16_t f16_by_processor(float value) {
  return static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
}
[[gnu::target("f16c")]] float f32_by_processor(std::uint16_t pattern) {
  return _cvtsh_ss(pattern);
}

/// Random bit patterns as floats: all magnitudes, infinities and NaNs included.
float any_float(std::uint64_t index) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(Random(1, 1).bits(index)));
}

TEST(F16, AllPatternsWidenAsTheProcessorDoesAndComeBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    const float mine = f16_to_f32(pattern);
    const float theirs = f32_by_processor(pattern);
    if (std::isnan(theirs)) {
      ASSERT_TRUE(std::isnan(mine)) << bits;
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(mine)))) << bits;
      continue;
    }
    ASSERT_EQ(std::bit_cast<std::uint32_t>(mine), std::bit_cast<std::uint32_t>(theirs)) << bits;
    ASSERT_EQ(f32_to_f16(mine), pattern);
  }
}

TEST(F16, MiddlesRoundToEvenAndTheirNeighboursToTheNearest) {
  for (unsigned bits = 0; bits < 0x7C00; ++bits) {
    const float low = f16_to_f32(static_cast<std::uint16_t>(bits));
    const float high = bits == 0x7BFF ? 65536.0f : f16_to_f32(static_cast<std::uint16_t>(bits + 1));
    const float middle = (low + high) / 2;
    const unsigned even = bits + (bits & 1);
    ASSERT_EQ(f32_to_f16(middle), even);
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, infinity)), bits + 1);
  }
}

TEST(F16, RandomFloatsRoundAsTheProcessorDoes) {
  for (std::uint64_t i = 0; i < 500'000; ++i) {
    const float value = any_float(i), small = std::ldexp(value, -static_cast<int>(i % 40));
    for (const float x : {value, small, static_cast<float>(Random(2, 2).normal(i))}) {
      if (std::isnan(x)) continue;
      ASSERT_EQ(f32_to_f16(x), f16_by_processor(x)) << x;
    }
  }
  EXPECT_EQ(f32_to_f16(65519.99f), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(f32_to_f16(-infinity), 0xFC00);
}

TEST(Bf16, AllPatternsComeBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    const float value = bf16_to_f32(pattern);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value)))) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(value), bits << 16);
      ASSERT_EQ(f32_to_bf16(value), pattern);
    }
  }
}

TEST(Bf16, MiddlesRoundToEvenAndTheirNeighboursToTheNearest) {
  for (unsigned bits = 0; bits < 0x7F80; ++bits) {
    const float middle = std::bit_cast<float>(bits << 16 | 0x8000u);
    const unsigned even = bits + (bits & 1);
    ASSERT_EQ(f32_to_bf16(middle), even);
    ASSERT_EQ(f32_to_bf16(-middle), even | 0x8000);
    ASSERT_EQ(f32_to_bf16(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(f32_to_bf16(std::nextafter(middle, infinity)), bits + 1);
  }
}

TEST(Bf16, ANanWhoseLowBitsAloneAreSetStaysANan) {
  const float low_payload = std::bit_cast<float>(0x7F800001u);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(low_payload))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0xFFFFFFFFu)))));
}

TEST(Weights, StoreAndLoadTouchOneElement) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<std::byte> data(1 + 3 * size_of(dtype));  // odd start: files give no alignment
    std::byte* base = data.data() + 1;
    store_weight(base, dtype, 0, 1.5f);
    store_weight(base, dtype, 2, 2.0f);
    store_weight(base, dtype, 1, -0.25f);
    EXPECT_EQ(load_weight(base, dtype, 0), 1.5f);
    EXPECT_EQ(load_weight(base, dtype, 1), -0.25f);
    EXPECT_EQ(load_weight(base, dtype, 2), 2.0f);
  }
}

TEST(FindNonFinite, FindsEveryPositionInEveryDtype) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::size_t count : {1u, 3u, 17u, 4095u, 4097u, 8193u}) {
      std::vector<std::byte> data(1 + count * size_of(dtype));
      std::byte* base = data.data() + 1;
      const float largest = dtype == DType::f16 ? 65504.0f : 3.3895314e38f;
      for (std::size_t i = 0; i < count; ++i) store_weight(base, dtype, i, i % 2 ? largest : -0.0f);
      ASSERT_EQ(find_non_finite(base, dtype, count), count);
      for (std::size_t at = 0; at < count; at += count < 100 ? 1 : 31) {
        const float bad = std::array{nan, infinity, -infinity}[at % 3];
        const float good = load_weight(base, dtype, at);
        store_weight(base, dtype, at, bad);
        ASSERT_EQ(find_non_finite(base, dtype, count), at) << count << short_name(dtype);
        store_weight(base, dtype, at, good);
      }
      store_weight(base, dtype, count - 1, nan);
      EXPECT_EQ(find_non_finite(base, dtype, count), count - 1);
      store_weight(base, dtype, count / 2, infinity);
      EXPECT_EQ(find_non_finite(base, dtype, count), count / 2);  // the first of two
    }
    EXPECT_EQ(find_non_finite(nullptr, dtype, 0), 0u);
  }
}

TEST(DTypeNames, GoBothWays) {
  for (int i = 0; i <= static_cast<int>(DType::boolean); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_safetensors(safetensors_name(dtype)), dtype);
    EXPECT_EQ(dtype_from_config(config_name(dtype)), dtype);
    EXPECT_EQ(dtype_from_config("torch." + std::string(config_name(dtype))), dtype);
    EXPECT_EQ(dtype_from_config(short_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_safetensors("F8_E4M3"), std::nullopt);
  EXPECT_EQ(dtype_from_safetensors("f32"), std::nullopt);
  EXPECT_EQ(dtype_from_config("auto"), std::nullopt);
}

}  // namespace
}  // namespace moebius

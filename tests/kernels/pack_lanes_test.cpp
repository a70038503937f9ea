// Plain matrices packed_value out for the dot products, for every table that this processor has,
// against the layout's definition: odd sizes, rows by ids, both orientations. Buffers end with
// their last value, so that the sanitizer sees an access beyond.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/dtype.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

struct Case {
  ValueType stored;
  PackedType type;
};
constexpr Case cases[] = {{ValueType::f32, PackedType::f32},
                          {ValueType::f16, PackedType::f32},
                          {ValueType::bf16, PackedType::f32},
                          {ValueType::bf16, PackedType::bf16}};

/// A matrix [rows, ld] as bytes, and its values.
struct Stored {
  std::vector<std::byte> bytes;
  std::vector<float> values;

  Stored(ValueType type, std::int64_t count) : bytes(index(count * size_of(type))) {
    const DType dtype = type == ValueType::f32   ? DType::f32
                        : type == ValueType::f16 ? DType::f16
                                                 : DType::bf16;
    values = normal(count, 3);
    for (std::size_t i = 0; i < values.size(); ++i) {
      store_weight(bytes.data(), dtype, i, values[i]);
      values[i] = load_weight(bytes.data(), dtype, i);
    }
  }
};

/// What is at [k, lane] of a layout.
float packed_value(PackedType type, const std::vector<std::byte>& out, std::int64_t width,
                   std::int64_t steps, std::int64_t k, std::int64_t lane) {
  const std::int64_t step = step_of(type), block = lane / width;
  const std::int64_t at = ((block * steps + k / step) * width + lane % width) * step + k % step;
  if (type == PackedType::bf16) {
    return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(out.data())[at]);
  }
  return reinterpret_cast<const float*>(out.data())[at];
}

void check(const KernelTable& table, const Case& c, std::int64_t k, std::int64_t lanes,
           std::int64_t width, bool transposed, bool by_ids) {
  const std::int64_t rows = transposed ? k : lanes, columns = transposed ? lanes : k;
  const std::int64_t ld = columns + 3;
  const Stored matrix(c.stored, (rows - 1) * ld + columns);
  std::vector<std::int32_t> ids(index(rows));
  for (std::int64_t r = 0; r < rows; ++r) {
    ids[index(r)] = static_cast<std::int32_t>((r * 7 + 3) % rows);
  }
  const std::int64_t step = step_of(c.type), steps = (k + step - 1) / step;
  const std::int64_t blocks = (lanes + width - 1) / width + (lanes == width ? 1 : 0);
  std::vector<std::byte> out(index(blocks * steps * width * 4), std::byte{0xAB});
  table.pack_lanes({matrix.bytes.data(), c.stored, ld, by_ids ? ids.data() : nullptr, transposed,
                    columns, k, lanes, width, blocks, c.type, out.data()});
  for (std::int64_t i = 0; i < steps * step; ++i) {
    for (std::int64_t lane = 0; lane < blocks * width; ++lane) {
      float expected = 0;
      if (i < k && lane < lanes) {
        const std::int64_t row = transposed ? i : lane, column = transposed ? lane : i;
        expected = matrix.values[index((by_ids ? ids[index(row)] : row) * ld + column)];
      }
      ASSERT_EQ(packed_value(c.type, out, width, steps, i, lane), expected)
          << "k " << k << " lanes " << lanes << " of " << width << " at " << i << " " << lane
          << (transposed ? " transposed" : "") << (by_ids ? " by ids" : "");
    }
  }
}

TEST(PackLanesKernel, PutsEveryValueWhereTheDotProductTakesIt) {
  for_each_table([](const KernelTable& table) {
    for (const Case& c : cases) {
      for (const std::int64_t k : {1, 2, 15, 16, 17, 33, 64, 100}) {
        for (const bool transposed : {false, true}) {
          for (const bool by_ids : {false, true}) {
            for (std::int64_t lanes = 1; lanes <= 3 * panel_width; ++lanes) {
              check(table, c, k, lanes, panel_width, transposed, by_ids);
            }
            for (int width = 1; width <= table.tile_rows[static_cast<int>(c.type)]; ++width) {
              for (const std::int64_t tiles : {1, 2, 5}) {
                check(table, c, k, tiles * width, width, transposed, by_ids);
              }
            }
          }
        }
      }
    }
  });
}

TEST(PackLanesKernel, TakesATileFromTheMiddleOfColumns) {
  for_each_table([](const KernelTable& table) {
    constexpr std::int64_t k = 9, columns = 40, first = 5;
    const int lanes = table.tile_rows[static_cast<int>(PackedType::f32)];
    const Stored matrix(ValueType::f32, k * columns);
    std::vector<std::byte> out(index(k * lanes * 4));
    table.pack_lanes({matrix.bytes.data() + first * 4, ValueType::f32, columns, nullptr, true,
                      columns - first, k, lanes, lanes, 1, PackedType::f32, out.data()});
    for (std::int64_t i = 0; i < k; ++i) {
      for (int lane = 0; lane < lanes; ++lane) {
        ASSERT_EQ(packed_value(PackedType::f32, out, lanes, k, i, lane),
                  matrix.values[index(i * columns + first + lane)]);
      }
    }
  });
}

TEST(ConvertKernel, RoundsToTheNearestAndKeepsWhatIsNotFinite) {
  constexpr std::int64_t m = 3, columns = 37, ldx = 40, ldy = 41;
  std::vector<float> x = normal((m - 1) * ldx + columns, 5);
  x[0] = std::numeric_limits<float>::quiet_NaN();
  x[1] = -std::numeric_limits<float>::infinity();
  x[2] = 1.00390625f;  // halfway, to even
  for_each_table([&](const KernelTable& table) {
    std::vector<std::uint16_t> y(index((m - 1) * ldy + columns), 7);
    table.convert({x.data(), y.data(), ValueType::bf16, m, columns, ldx, ldy});
    std::vector<float> same(index((m - 1) * ldy + columns), 7);
    table.convert({x.data(), same.data(), ValueType::f32, m, columns, ldx, ldy});
    for (std::int64_t r = 0; r < m; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        const float value = x[index(r * ldx + c)];
        const std::uint16_t bits = y[index(r * ldy + c)];
        if (std::isnan(value)) {
          EXPECT_TRUE(std::isnan(bf16_to_f32(bits)));
          continue;
        }
        EXPECT_EQ(bits, f32_to_bf16(value));
        EXPECT_EQ(same[index(r * ldy + c)], value);
      }
      if (r + 1 < m) {
        EXPECT_EQ(y[index(r * ldy + columns)], 7);
      }
    }
  });
}

}  // namespace
}  // namespace moebius::kernels

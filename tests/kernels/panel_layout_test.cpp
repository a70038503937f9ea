// Packed matrices and the tiles over them: every table that this processor has against an oracle in
// double precision, for odd sizes, all numbers of rows, groups of any length. Buffers end with
// their last element, so that the sanitizer sees a read beyond.
#include "kernels/panel_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/kernels.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

constexpr const char* names[] = {"f32", "bf16", "int8", "int4"};

struct Packed {
  PackedShape shape;
  std::vector<std::byte> data;

  Packed(const PackedShape& s, const std::vector<float>& w)
      : shape(s), data(index(s.bytes()), std::byte{0xEE}) {
    pack(shape, w.data(), shape.k, 0, shape.panels(), data.data());
  }
  float at(std::int64_t n, std::int64_t k) const { return unpack(shape, data.data(), n, k); }
};

/// Rows of activations as a table prepares them.
struct Rows {
  std::vector<std::byte> x;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
  Prepared view;

  Rows(const KernelTable& table, const PackedShape& s, const std::vector<float>& from,
       std::int64_t ldx, std::int64_t m)
      : x(index(m * s.padded_k()) * element(s.type), std::byte{0xEE}),
        scales(index(m * s.x_groups())),
        sums(index(m * s.groups())),
        view{x.data(), scales.data(), sums.data()} {
    table.prepare(s, from.data(), ldx, m, view);
  }
  static std::size_t element(PackedType type) {
    return type == PackedType::f32 ? 4 : type == PackedType::bf16 ? 2 : 1;
  }
  double at(const PackedShape& s, std::int64_t row, std::int64_t k) const {
    const std::size_t i = index(row * s.padded_k() + k);
    if (s.type == PackedType::f32) return reinterpret_cast<const float*>(x.data())[i];
    if (s.type == PackedType::bf16) {
      return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(x.data())[i]);
    }
    return static_cast<double>(static_cast<std::int8_t>(x[i])) *
           scales[index(row * s.x_groups() + k / s.x_group())];
  }
};

/// The tile of rows `ids` and panels `a` and `b`, to `out`.
void store_tile(const KernelTable& table, const Packed& w, const Rows& rows,
                const std::vector<std::int32_t>& ids, std::int64_t a, std::int64_t b,
                const TileOutput& out) {
  const PackedShape& s = w.shape;
  const auto m = static_cast<std::int64_t>(ids.size());
  std::vector<std::byte> x(index(m * s.padded_k()) * Rows::element(s.type));
  std::vector<float> scales(index(m * s.x_groups()));
  std::vector<std::int32_t> offsets(index(m * s.groups()));
  const TileRows tile{x.data(), scales.data(), offsets.data(), static_cast<int>(m)};
  table.interleave(s, rows.view, ids.data(), tile);
  const auto panel = [&](std::int64_t p) { return w.data.data() + p * s.panel_bytes(); };
  table.tile(s, {tile, {panel(a), panel(b)}, out, {}});
}

std::vector<float> run_tile(const KernelTable& table, const Packed& w, const Rows& rows,
                            const std::vector<std::int32_t>& ids, std::int64_t a, std::int64_t b,
                            std::int64_t ldy) {
  const auto m = static_cast<std::int64_t>(ids.size());
  std::vector<float> y(index((m - 1) * ldy + 32), -7.5f);
  store_tile(table, w, rows, ids, a, b, {y.data(), ldy});
  return y;
}

void check_tile(const KernelTable& table, const PackedShape& s, int m) {
  const Packed w(s, normal(s.n * s.k, 1));
  const std::int64_t ldx = s.k + 3, tokens = m + 4, ldy = 32 + m % 3;
  const Rows rows(table, s, normal((tokens - 1) * ldx + s.k, 2), ldx, tokens);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < m; ++i) ids.push_back(static_cast<std::int32_t>((5 * i + 3) % tokens));
  const std::int64_t panels[] = {s.panels() - 1, s.panels() / 2 - 1};  // any two
  const std::vector<float> y = run_tile(table, w, rows, ids, panels[0], panels[1], ldy);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t c = 0; c < 32; ++c) {
      const std::int64_t n = panels[c / 16] * 16 + c % 16;
      double sum = 0, magnitude = 0;
      for (std::int64_t k = 0; k < s.k && n < s.n; ++k) {
        const double product = w.at(n, k) * rows.at(s, ids[index(i)], k);
        sum += product;
        magnitude += std::fabs(product);
      }
      const double bound = std::min<double>(static_cast<double>(s.k) + 2, 64) * 0x1p-24 * magnitude;
      ASSERT_LE(std::fabs(y[index(i * ldy + c)] - sum), bound)
          << table.isa << " " << names[static_cast<int>(s.type)] << " m " << m << " n " << s.n
          << " k " << s.k << " group " << s.group << " at " << i << ", " << c;
    }
    for (std::int64_t c = 32; c < ldy && i + 1 < m; ++c) ASSERT_EQ(y[index(i * ldy + c)], -7.5f);
  }
}

TEST(PackedTile, EveryNumberOfRowsAndRemainderOfK) {
  for_each_table([](const KernelTable& table) {
    for (int type = 0; type < packed_types; ++type) {
      for (int m = 1; m <= table.tile_rows[type]; ++m) {
        for (const std::int64_t k : {1, 2, 7, 8, 9, 31, 32, 33, 71, 128, 200}) {
          for (const std::int64_t group : {8, 32, 64}) {
            if (type < 2 && group != 32) continue;
            check_tile(table, {static_cast<PackedType>(type), 37, k, group}, m);
          }
        }
      }
    }
  });
}

/// The first element on a cache line, if `lines`, else the first.
template <class T>
T* begin_of(std::vector<T>& values, bool lines) {
  const auto beyond = reinterpret_cast<std::uintptr_t>(values.data()) % 64;
  return values.data() + (lines && beyond != 0 ? (64 - beyond) / sizeof(T) : 0);
}

/// What `out` makes of `sums` [m, 32]; y has as many rows as ids go to. `lines`: rows are whole
/// lines of memory.
void check_output(const KernelTable& table, const Packed& w, const Rows& rows,
                  const std::vector<std::int32_t>& ids, TileOutput out, bool lines) {
  const auto m = static_cast<std::int64_t>(ids.size());
  const std::vector<float> sums = run_tile(table, w, rows, ids, 0, 1, 32);
  const bool narrow = out.type == ValueType::bf16;
  out.ldy = lines ? 64 : 35;
  const std::vector<float> before = normal((m + 2) * out.ldy, 7);
  std::vector<float> y_f32(before.size() + 16);
  std::vector<std::uint16_t> y_bf16(before.size() + 32);
  float* const y = begin_of(y_f32, lines);
  std::uint16_t* const halves = begin_of(y_bf16, lines);
  std::ranges::copy(before, y);
  std::ranges::transform(before, halves, f32_to_bf16);
  out.y = narrow ? static_cast<void*>(halves) : y;
  store_tile(table, w, rows, ids, 0, 1, out);
  std::vector<float> expected = before;
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t c = 0; c < 32; ++c) {
      if (c % 16 >= out.columns[c / 16]) continue;
      float& to = expected[index((out.ids != nullptr ? out.ids[r] : r) * out.ldy + c)];
      double value = sums[index(r * 32 + c)];
      if (out.bias[c / 16] != nullptr) value += static_cast<double>(out.bias[c / 16][c % 16]);
      if (out.scales != nullptr) value *= out.scales[r];
      if (out.add) value += static_cast<double>(to) * (out.keep != nullptr ? out.keep[r] : 1.0f);
      to = static_cast<float>(value);
    }
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const float found = narrow ? bf16_to_f32(halves[i]) : y[i];
    const float bound = (narrow ? 0x1p-8f : 0x1p-18f) * (1 + std::fabs(expected[i]));
    ASSERT_NEAR(found, expected[i], bound)
        << table.isa << " m " << m << " columns " << out.columns[0] << ", " << out.columns[1]
        << " at " << i;
  }
}

/// Every combination of what a TileOutput says, at depths `ks` and full tiles, or fewer rows too.
void check_outputs(std::initializer_list<std::int64_t> ks, bool fewer_rows) {
  const std::vector<float> bias = normal(32, 11), scales = normal(max_tile_rows, 12),
                           keep = normal(max_tile_rows, 13);
  std::vector<std::int32_t> to(max_tile_rows);
  for_each_table([&](const KernelTable& table) {
    for (int type = 0; type < packed_types; ++type) {
      for (const std::int64_t k : ks) {
        const PackedShape s{static_cast<PackedType>(type), 32, k, 32};
        const Packed w(s, normal(s.n * s.k, 3));
        for (const int m : {1, 2, table.tile_rows[type]}) {
          if (m != table.tile_rows[type] && !fewer_rows) continue;
          const Rows rows(table, s, normal(m * s.k, 4), s.k, m);
          std::vector<std::int32_t> ids;
          for (int i = 0; i < m; ++i) {
            ids.push_back(i);
            to[index(i)] = i % 4 == 3 ? to[index(i - 1)] : (i * 3 + 1) % (m + 2);  // rows may meet
          }
          for (int flags = 0; flags < 256; ++flags) {
            const auto is = [&](int flag) { return (flags & flag) != 0; };
            for (const std::array<std::int64_t, 2> columns :
                 {std::array<std::int64_t, 2>{16, 16}, {16, 5}, {9, 9}, {16, 0}, {1, 0}}) {
              TileOutput out{.y = nullptr, .ldy = 0};
              std::ranges::copy(columns, out.columns);
              if (is(1)) out.bias[0] = bias.data(), out.bias[1] = bias.data() + 16;
              if (is(2)) out.scales = scales.data();
              if (is(4)) out.add = true;
              if (is(8)) out.keep = keep.data();
              if (is(16)) out.type = ValueType::bf16;
              if (is(32)) out.ids = to.data();
              if (is(64)) out.non_temporal = true;
              if (out.type == ValueType::bf16 && out.add) continue;
              check_output(table, w, rows, ids, out, is(128));
            }
          }
        }
      }
    }
  });
}

TEST(PackedTile, SumsGoWhereTheyShould) {
  check_outputs({40}, false);
}

TEST(LongPackedTile, SumsGoWhereTheyShould) {
  check_outputs({40, 168}, true);
}

TEST(Prepare, IsTheSameForEveryInstructionSet) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const KernelTable& ref = *table_for("ref");
  for_each_table([&](const KernelTable& table) {
    for (const PackedType type : {PackedType::int8, PackedType::int4}) {
      for (const std::int64_t group : {8, 32, 64}) {
        for (const std::int64_t k : {8, 32, 96, 128, 256, 512, 1000, 1024, 1100, 2240}) {
          for (const std::int64_t more : {0, 5}) {
            constexpr std::int64_t m = 7;
            const PackedShape s{type, 32, k, group};
            std::vector<float> x = normal((m - 1) * (k + more) + k, 14);
            for (std::size_t i = 0; i < x.size(); i += 13) x[i] *= 1e-3f;
            for (std::int64_t i = 0; i < k / 2; ++i)
              x[index(k + more + i)] = i % 3 == 0 ? 1e-35f : 0;
            x[index(3 * (k + more) + k / 3)] = infinity;
            x[index(4 * (k + more) + k - 1)] = std::numeric_limits<float>::quiet_NaN();
            const Rows found(table, s, x, k + more, m), expected(ref, s, x, k + more, m);
            EXPECT_EQ(found.x, expected.x) << table.isa << " k " << k << " group " << group;
            EXPECT_EQ(found.sums, expected.sums) << table.isa << " k " << k << " group " << group;
            EXPECT_TRUE(std::ranges::equal(
                found.scales, expected.scales,
                [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }))
                << table.isa << " k " << k << " group " << group;
          }
        }
      }
    }
  });
}

TEST(PackedTile, LongSums) {
  for_each_table([](const KernelTable& table) {
    for (int type = 0; type < packed_types; ++type) {
      check_tile(table, {static_cast<PackedType>(type), 96, 4099, 32}, table.tile_rows[type]);
    }
  });
}

TEST(PackedTile, ARowDoesNotDependOnTheOthers) {
  for_each_table([](const KernelTable& table) {
    for (int type = 0; type < packed_types; ++type) {
      const PackedShape s{static_cast<PackedType>(type), 32, 333, 32};
      const Packed w(s, normal(s.n * s.k, 3));
      const int m = table.tile_rows[type];
      const Rows rows(table, s, normal(m * s.k, 4), s.k, m);
      std::vector<std::int32_t> all;
      for (int i = 0; i < m; ++i) all.push_back(i);
      const std::vector<float> together = run_tile(table, w, rows, all, 0, 1, 32);
      for (int i = 0; i < m; ++i) {
        const std::vector<float> alone = run_tile(table, w, rows, {i}, 0, 1, 32);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + i * 32)) << table.isa;
      }
    }
  });
}

TEST(PackedTile, ExtremeIntegersAreExact) {
  for_each_table([](const KernelTable& table) {
    for (const PackedType type : {PackedType::int8, PackedType::int4}) {
      const PackedShape s{type, 32, 64, 32};
      std::vector<float> w(index(s.n * s.k)), x(index(s.k));
      for (std::size_t i = 0; i < w.size(); ++i) w[i] = i % 3 == 0 ? -1.0f : 1.0f;
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 5 == 0 ? -127.0f : 127.0f;
      Packed packed(s, w);
      const Rows rows(table, s, x, s.k, 1);
      const std::vector<float> y = run_tile(table, packed, rows, {0}, 0, 1, 32);
      for (std::int64_t n = 0; n < s.n; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < s.k; ++k) sum += packed.at(n, k) * x[index(k)];
        EXPECT_NEAR(y[index(n)], sum, 1e-5 * std::fabs(sum) + 1e-3) << table.isa;
      }
    }
  });
}

TEST(PackedTile, WhatIsNotFiniteInARowArrivesInItAlone) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for_each_table([](const KernelTable& table) {
    for (int type = 0; type < packed_types; ++type) {
      const PackedShape s{static_cast<PackedType>(type), 32, 70, 32};
      const Packed w(s, normal(s.n * s.k, 5));
      for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<float> x = normal(2 * s.k, 6);
        x[index(s.k + 68)] = bad;
        const Rows rows(table, s, x, s.k, 2);
        const std::vector<float> y = run_tile(table, w, rows, {0, 1}, 0, 1, 32);
        EXPECT_TRUE(
            std::all_of(y.begin(), y.begin() + 32, [](float v) { return std::isfinite(v); }));
        EXPECT_TRUE(std::none_of(y.begin() + 32, y.end(), [](float v) { return std::isfinite(v); }))
            << table.isa << " " << names[type];
      }
    }
  });
}

TEST(Pack, FloatsAreKeptAndPaddingIsZero) {
  const std::vector<float> w = normal(37 * 5, 8);
  const Packed f32({PackedType::f32, 37, 5}, w), bf16({PackedType::bf16, 37, 5}, w);
  EXPECT_EQ(f32.shape.panels(), 4);
  for (std::int64_t n = 0; n < 37; ++n) {
    for (std::int64_t k = 0; k < 5; ++k) {
      EXPECT_EQ(f32.at(n, k), w[index(n * 5 + k)]);
      EXPECT_EQ(bf16.at(n, k), bf16_to_f32(f32_to_bf16(w[index(n * 5 + k)])));
    }
  }
  for (std::int64_t n = 37; n < 64; ++n) EXPECT_EQ(f32.at(n, 0), 0.0f);
}

TEST(Pack, CodesAreTheNearestAndScalesBeatTheWidest) {
  constexpr std::int64_t n = 32, k = 96;
  const std::vector<float> w = normal(n * k, 9);
  for (const auto& [type, most] : {std::pair{PackedType::int8, 127}, {PackedType::int4, 7}}) {
    const Packed packed({type, n, k, 32}, w);
    double error = 0, widest = 0;
    for (std::int64_t row = 0; row < n; ++row) {
      for (std::int64_t begin = 0; begin < k; begin += 32) {
        float largest = 0;
        for (std::int64_t i = begin; i < begin + 32; ++i) {
          largest = std::max(largest, std::fabs(w[index(row * k + i)]));
        }
        const float scale = largest / static_cast<float>(most);
        for (std::int64_t i = begin; i < begin + 32; ++i) {
          const float v = w[index(row * k + i)];
          error += std::pow(v - packed.at(row, i), 2);
          widest += std::pow(v - scale * std::nearbyint(v / scale), 2);
        }
      }
    }
    EXPECT_LT(error, widest * (type == PackedType::int4 ? 0.9 : 1.01));
  }
}

TEST(Pack, GroupsOfNothingAndOfTinyNumbers) {
  for (const PackedType type : {PackedType::int8, PackedType::int4}) {
    for (const float value : {0.0f, 1e-38f, 1e-42f, -1e-20f, 3e38f}) {
      const Packed packed({type, 16, 40, 32}, std::vector<float>(16 * 40, value));
      EXPECT_NEAR(packed.at(3, 39), value, std::fabs(value) * 0.01 + 1e-30);
    }
    const Packed one({type, 1, 8, 8}, {0, 0, 0, INFINITY, 0, 0, 0, 0});
    EXPECT_FALSE(std::isfinite(one.at(0, 3)));
  }
}

}  // namespace
}  // namespace moebius::kernels

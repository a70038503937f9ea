// Products of few rows with matrices as a GPU does them, in double precision beside it.
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/cuda/kernels.h"
#include "kernels/panel_layout.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

/// Which row of x each row of y comes of and which matrix it meets.
struct Rows {
  std::int64_t tokens;
  Ids ids, offsets;  ///< empty: all tokens, one matrix

  std::int64_t count() const { return ids.empty() ? tokens : std::ssize(ids); }
  std::int64_t experts() const { return offsets.empty() ? 1 : std::ssize(offsets) - 1; }
  cuda::ProductRows view() const {
    return {count(), ids.empty() ? nullptr : ids.data(), offsets.empty() ? nullptr : offsets.data(),
            experts(), tokens};
  }
  std::int64_t source(std::int64_t row) const { return ids.empty() ? row : ids[index(row)]; }
  std::int64_t expert(std::int64_t row) const {
    std::int64_t e = 0;
    while (!offsets.empty() && offsets[index(e + 1)] <= row) ++e;
    return e;
  }
};

/// One token to many, experts without rows among others.
std::vector<Rows> some_rows() {
  return {{1, {}, {}},
          {3, {}, {}},
          {13, {}, {}},
          {1, {0, 0}, {0, 0, 1, 1, 2, 2}},
          {4, {0, 1, 3, 2, 0}, {0, 3, 3, 5}},
          {11, {5, 1, 0, 2, 3, 4, 6, 7, 8, 9, 10, 3}, {0, 0, 11, 12}}};
}

/// Where sums go: y, rows of which are one value longer than N, with a bias of each expert and a
/// residual, or without.
struct End {
  std::int64_t n, ldy;
  ValueType type;
  Stored bias, residual, y;
  bool plain;

  End(ValueType t, const Rows& rows, std::int64_t width, bool bare)
      : n(width),
        ldy(n + 1),
        type(t),
        bias(t, normal(rows.experts() * n, 4)),
        residual(t, normal(rows.count() * ldy, 7)),
        y(t, rows.count() * ldy),
        plain(bare) {}
  cuda::ProductEnd view() {
    if (plain) return {.y = y.bytes.data(), .ldy = ldy};
    return {bias.bytes.data(), residual.bytes.data(), 0.5f, y.bytes.data(), ldy};
  }
  /// Off residual + 0.5 (x w^T + bias), x(token, k) and w(expert, n, k).
  template <class X, class W>
  double error(const Rows& rows, std::int64_t k, X x, W w) {
    Values expected(index(rows.count() * ldy), -7);
    const Values biases = bias.values(), before = residual.values();
    for (std::int64_t r = 0; r < rows.count(); ++r) {
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t e = rows.expert(r);
        double sum = plain ? 0 : biases[index(e * n + i)];
        for (std::int64_t j = 0; j < k; ++j) sum += x(rows.source(r), j) * w(e, i, j);
        expected[index(r * ldy + i)] = plain ? sum : before[index(r * ldy + i)] + 0.5 * sum;
      }
    }
    return distance(y.values(), expected);
  }
};

TEST(CudaPlainProduct, OfEveryNumberOfRowsAndOddSizes) {
  for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
    for (const auto& [width, depth] : {std::pair{1, 1}, {37, 83}, {20, 520}}) {
      const std::int64_t n = width, k = depth, ldx = k + (k % 8 == 0 ? 8 : 1);
      for (const Rows& rows : some_rows()) {
        const Stored x(type, normal(rows.tokens * ldx, 1)),
            w(type, normal(rows.experts() * n * k, 2));
        End end(type, rows, n, k == 520);
        ASSERT_EQ(cuda::multiply(cuda::PlainProduct{type, rows.view(), x.bytes.data(),
                                                    w.bytes.data(), n, k, ldx, end.view()},
                                 nullptr),
                  nullptr);
        const Values from = x.values(), weights = w.values();
        const double error = end.error(
            rows, k, [&](std::int64_t t, std::int64_t j) { return from[index(t * ldx + j)]; },
            [&](std::int64_t e, std::int64_t i, std::int64_t j) {
              return weights[index((e * n + i) * k + j)];
            });
        EXPECT_LT(error, type == ValueType::f32 ? 1e-6 : 4e-3)
            << n << " " << k << " " << rows.tokens << " " << rows.experts();
      }
    }
  }
}

/// E matrices, packed one behind the other.
struct Packed {
  PackedShape shape;
  std::vector<std::byte> data;

  Packed(const PackedShape& s, std::int64_t experts)
      : shape(s), data(index(experts * s.bytes()) + 16) {
    for (std::int64_t e = 0; e < experts; ++e) {
      const std::vector<float> w = normal(s.n * s.k, 20 + index(e));
      pack(s, w.data(), s.k, 0, s.panels(), codes() + e * s.bytes());
    }
  }
  /// As on a GPU, where memory begins at a multiple of 16.
  std::byte* codes() {
    const auto at = reinterpret_cast<std::uintptr_t>(data.data());
    return data.data() + (16 - at % 16) % 16;
  }
  double at(std::int64_t e, std::int64_t n, std::int64_t k) {
    return unpack(shape, codes() + e * shape.bytes(), n, k);
  }
};

TEST(CudaPackedProduct, OfRowsThatAreQuantisedLikeOnTheCpu) {
  for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
    for (const PackedType packed : {PackedType::int8, PackedType::int4}) {
      for (const auto& [n, k, group] :
           {std::tuple{1, 1, 32}, {37, 83, 32}, {50, 320, 64}, {16, 200, 24}}) {
        const PackedShape shape{packed, n, k, group};
        const std::int64_t ldx = k + 3, padded = shape.padded_k();
        for (const Rows& rows : some_rows()) {
          const Stored x(type, normal(rows.tokens * ldx, 5));
          std::vector<std::int8_t> codes(index(rows.tokens * padded), 99), cpu_codes = codes;
          std::vector<float> scales(index(rows.tokens * shape.x_groups())), cpu_scales = scales;
          std::vector<std::int32_t> cpu_sums(index(rows.tokens * shape.groups()));
          ASSERT_EQ(cuda::quantise({type, shape, x.bytes.data(), rows.tokens, ldx, codes.data(),
                                    scales.data()},
                                   nullptr),
                    nullptr);
          const Values from = x.values();
          const std::vector<float> floats(from.begin(), from.end());
          table_for("ref")->prepare(shape, floats.data(), ldx, rows.tokens,
                                    {cpu_codes.data(), cpu_scales.data(), cpu_sums.data()});
          EXPECT_EQ(codes, cpu_codes);
          EXPECT_EQ(scales, cpu_scales);

          Packed w(shape, rows.experts());
          End end(type, rows, n, k == 320);
          ASSERT_EQ(cuda::multiply(cuda::PackedProduct{type, rows.view(), shape, codes.data(),
                                                       scales.data(), w.codes(), end.view()},
                                   nullptr),
                    nullptr);
          const double error = end.error(
              rows, k,
              [&](std::int64_t t, std::int64_t j) {
                return codes[index(t * padded + j)] *
                       double(scales[index(t * shape.x_groups() + j / shape.x_group())]);
              },
              [&](std::int64_t e, std::int64_t i, std::int64_t j) { return w.at(e, i, j); });
          EXPECT_LT(error, type == ValueType::f32 ? 1e-6 : 4e-3)
              << int(packed) << " " << n << " " << k << " " << rows.tokens << " " << rows.experts();
        }
      }
    }
  }
}

TEST(CudaQuantise, ARowThatIsNotFiniteShows) {
  const PackedShape shape{PackedType::int8, 1, 128, 64};
  std::vector<float> x = normal(128, 6);
  x[70] = std::numeric_limits<float>::infinity();
  std::vector<std::int8_t> codes(128);
  std::vector<float> scales(2);
  ASSERT_EQ(cuda::quantise({ValueType::f32, shape, x.data(), 1, 128, codes.data(), scales.data()},
                           nullptr),
            nullptr);
  EXPECT_TRUE(std::isfinite(scales[0]));
  EXPECT_TRUE(std::isnan(scales[1]));
}

TEST(CudaUnpack, AreTheMatricesThatWerePacked) {
  for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
    for (const PackedType packed : {PackedType::int8, PackedType::int4}) {
      for (const auto& [n, k, group] : {std::tuple{1, 1, 32}, {37, 83, 32}, {16, 200, 24}}) {
        const PackedShape shape{packed, n, k, group};
        constexpr std::int64_t experts = 3;
        Packed w(shape, experts);
        Stored found(type, experts * n * k);
        ASSERT_EQ(cuda::unpack({type, shape, experts, w.codes(), found.bytes.data()}, nullptr),
                  nullptr);
        std::vector<float> expected;
        for (std::int64_t e = 0; e < experts; ++e) {
          for (std::int64_t i = 0; i < n * k; ++i) expected.push_back(float(w.at(e, i / k, i % k)));
        }
        EXPECT_EQ(found.values(), Stored(type, expected).values());
      }
    }
  }
}

TEST(CudaPackedProduct, RefusesFloats) {
  EXPECT_NE(cuda::multiply(cuda::PackedProduct{.shape = {PackedType::bf16, 1, 1}}, nullptr),
            nullptr);
}

}  // namespace
}  // namespace moebius::kernels

// Products and grouped FFNs on packed weights, for every table that this processor has, against an
// oracle in double precision that knows nothing of tiles; and what must not change their bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/grouped_ffn.h"
#include "kernels/linear.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

/// What rounding the activations may cost, relative to the norm of the result.
constexpr double tolerances[] = {1e-6, 4e-3, 1.2e-2, 1.2e-2};

class RandomMatrix {
 public:
  RandomMatrix() = default;
  RandomMatrix(PackedType type, std::int64_t n, std::int64_t k, std::int64_t group,
               std::uint64_t store_non_temporal)
      : shape_{type, n, k, group}, data_(index(shape_.bytes())) {
    const std::vector<float> w =
        normal(n * k, store_non_temporal, 1 / std::sqrt(static_cast<double>(k)));
    pack(shape_, w.data(), k, 0, shape_.panels(), data_.data());
  }
  Matrix view() const { return {shape_, data_.empty() ? nullptr : data_.data(), {}, 0}; }
  /// Row n times x.
  double times(std::int64_t n, const std::vector<double>& x) const {
    double sum = 0;
    for (std::int64_t k = 0; k < shape_.k; ++k) {
      sum += unpack(shape_, data_.data(), n, k) * x[index(k)];
    }
    return sum;
  }

 private:
  PackedShape shape_;
  std::vector<std::byte> data_;
};

template <class Fn>
void for_each_table_and_type(Fn fn) {
  for_each_table([&](const KernelTable& table) {
    for (int type = 0; type < packed_types; ++type) {
      SCOPED_TRACE(type);
      fn(table, static_cast<PackedType>(type), tolerances[type]);
    }
  });
}

// ---- linear -----------------------------------------------------------------------------------

/// Two products of different widths, the first with a bias, the second added to what is there.
struct TwoProducts {
  static constexpr std::int64_t k = 83, n[2] = {37, 64}, ldx = k + 2, ldy[2] = {40, 64};
  RandomMatrix w[2];
  std::vector<float> bias = normal(n[0], 4);

  explicit TwoProducts(PackedType type)
      : w{RandomMatrix(type, n[0], k, 32, 1), RandomMatrix(type, n[1], k, 32, 2)} {}

  std::vector<float> run(const KernelTable& table, int threads, const float* x,
                         std::int64_t m) const {
    Executor executor(threads);
    Arena arena;
    std::vector<float> y(index(m * (ldy[0] + ldy[1])), 1.0f);
    const Product products[] = {
        {w[0].view(), bias.data(), y.data(), ldy[0]},
        {w[1].view(), nullptr, y.data() + m * ldy[0], ldy[1], /*add=*/true, 0.5f}};
    linear({table, executor, arena}, {x, ValueType::f32, ldx}, m, products);
    return y;
  }

  std::vector<double> expected(const std::vector<float>& x, std::int64_t m) const {
    std::vector<double> y(index(m * (ldy[0] + ldy[1])), 1.0);
    for (std::int64_t r = 0; r < m; ++r) {
      const std::vector<double> row(x.begin() + r * ldx, x.begin() + r * ldx + k);
      for (std::int64_t c = 0; c < n[0]; ++c) {
        y[index(r * ldy[0] + c)] = w[0].times(c, row) + bias[index(c)];
      }
      for (std::int64_t c = 0; c < n[1]; ++c) {
        y[index(m * ldy[0] + r * ldy[1] + c)] += 0.5 * w[1].times(c, row);
      }
    }
    return y;
  }
};

TEST(Linear, IsTheProductForAnyNumberOfRows) {
  for_each_table_and_type([](const KernelTable& table, PackedType type, double tolerance) {
    const TwoProducts products(type);
    for (const std::int64_t m : {1, 2, 5, 13, 40, 250}) {
      const std::vector<float> x = normal(m * products.ldx, 3);
      EXPECT_LT(distance(products.run(table, 3, x.data(), m), products.expected(x, m)), tolerance)
          << m;
    }
  });
}

TEST(Linear, BitsDependNeitherOnThreadsNorOnOtherRows) {
  for_each_table_and_type([](const KernelTable& table, PackedType type, double) {
    const TwoProducts products(type);
    constexpr std::int64_t m = 250;
    const std::vector<float> x = normal(m * products.ldx, 5);
    const std::vector<float> together = products.run(table, 1, x.data(), m);
    EXPECT_EQ(products.run(table, 3, x.data(), m), together);
    for (const std::int64_t r : {0, 1, 17, 249}) {
      const std::vector<float> alone = products.run(table, 2, x.data() + r * products.ldx, 1);
      EXPECT_TRUE(std::equal(alone.begin(), alone.begin() + products.n[0],
                             together.begin() + r * products.ldy[0]));
    }
  });
}

TEST(Linear, NonTemporalStoresAreVisible) {
  constexpr std::int64_t m = 200, n = 320, k = 50;
  for_each_table([](const KernelTable& table) {
    const RandomMatrix w(PackedType::bf16, n, k, 32, 1);
    const std::vector<float> x = normal(m * k, 2);
    const auto run = [&](bool non_temporal) {
      Executor executor(3);
      Arena arena;
      auto* y = arena.take<std::uint16_t>(m * n);
      const Product p{
          .w = w.view(), .y = y, .ldy = n, .type = ValueType::bf16, .non_temporal = non_temporal};
      linear({table, executor, arena}, {x.data(), ValueType::f32, k}, m, {&p, 1});
      return std::vector<std::uint16_t>(y, y + m * n);
    };
    EXPECT_EQ(run(true), run(false)) << table.isa;
  });
}

TEST(Linear, FewColumnsAreWorkForAllThreads) {
  for_each_table_and_type([](const KernelTable& table, PackedType type, double tolerance) {
    constexpr std::int64_t k = 83;
    for (const std::int64_t n : {1, 16, 20, 32}) {
      const RandomMatrix w(type, n, k, 32, 1);
      const std::vector<float> bias = normal(n, 2);
      for (const std::int64_t m : {1, 3}) {
        const std::vector<float> x = normal(m * k, 3);
        const auto product = [&](int threads) {
          Executor executor(threads);
          Arena arena;
          std::vector<float> y(index(m * n));
          const Product p{w.view(), bias.data(), y.data(), n};
          linear({table, executor, arena}, {x.data(), ValueType::f32, k}, m, {&p, 1});
          return y;
        };
        std::vector<double> expected;
        for (std::int64_t r = 0; r < m; ++r) {
          const std::vector<double> row(x.begin() + r * k, x.begin() + (r + 1) * k);
          for (std::int64_t c = 0; c < n; ++c) expected.push_back(w.times(c, row) + bias[index(c)]);
        }
        EXPECT_EQ(product(3), product(1));
        EXPECT_LT(distance(product(3), expected), tolerance) << n << " " << m;
      }
    }
  });
}

TEST(Linear, PlainMatricesGiveTheBitsOfPackedOnes) {
  constexpr std::int64_t m = 29, n = 37, k = 45;
  for_each_table([&](const KernelTable& table) {
    for (const PackedType type : {PackedType::f32, PackedType::bf16}) {
      const ValueType stored = type == PackedType::f32 ? ValueType::f32 : ValueType::bf16;
      const PackedShape shape{type, n, k};
      std::vector<float> values = normal(n * k, 11), x = normal(m * k, 12);
      std::vector<std::uint16_t> bf16(values.size()), flipped_bf16(values.size());
      std::vector<float> flipped(values.size());
      for (std::int64_t i = 0; i < n * k; ++i) {
        bf16[index(i)] = f32_to_bf16(values[index(i)]);
        flipped[index(i % k * n + i / k)] = values[index(i)];
        flipped_bf16[index(i % k * n + i / k)] = bf16[index(i)];
      }
      std::vector<std::byte> data(index(shape.bytes()));
      std::vector<float> packed_from = values;
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (stored == ValueType::bf16) packed_from[i] = bf16_to_f32(bf16[i]);
      }
      pack(shape, packed_from.data(), k, 0, shape.panels(), data.data());
      const bool f32 = stored == ValueType::f32;
      const Plain row_major{f32 ? static_cast<void*>(values.data()) : bf16.data(), stored, k};
      const Plain columns{f32 ? static_cast<void*>(flipped.data()) : flipped_bf16.data(), stored, n,
                          nullptr, true};
      const auto times = [&](const Matrix& w) {
        Executor executor(2);
        Arena arena;
        std::vector<float> y(index(m * n));
        const Product product{.w = w, .y = y.data(), .ldy = n};
        linear({table, executor, arena}, {x.data(), ValueType::f32, k}, m, {&product, 1});
        return y;
      };
      const std::vector<float> expected = times({.shape = shape, .data = data.data()});
      EXPECT_EQ(times({.shape = shape, .plain = row_major}), expected);
      EXPECT_EQ(times({.shape = shape, .plain = columns}), expected);
    }
  });
}

// ---- grouped_ffn ------------------------------------------------------------------------------

struct Ffn {
  std::int64_t width;
  RandomMatrix gate, up, down;
  std::vector<float> gate_bias, up_bias, down_bias;
};

/// Experts of which one has no rows, and one, wider than the others, that all tokens pass.
class Layer {
 public:
  static constexpr std::int64_t d = 70, experts = 5;

  Layer(PackedType in, PackedType out, bool gated, bool biased, Activation kind, std::int64_t group)
      : kind_(kind) {
    for (std::int64_t e = 0; e <= experts; ++e) {
      const auto s = static_cast<std::uint64_t>(10 * e);
      Ffn f{e < experts ? 76 : 100, {}, {}, {}, {}, {}, {}};
      if (gated) f.gate = RandomMatrix(in, f.width, d, group, s + 1);
      f.up = RandomMatrix(in, f.width, d, group, s + 2);
      f.down = RandomMatrix(out, d, f.width, group, s + 3);
      if (biased) {
        f.gate_bias = normal(f.width, s + 4);
        f.up_bias = normal(f.width, s + 5);
        f.down_bias = normal(d, s + 6);
      }
      ffns_.push_back(std::move(f));
    }
  }

  /// Token t goes to experts t and t + 1 of those that have rows, and to the wide one.
  static std::vector<std::int64_t> experts_of(std::int64_t token) {
    return {token % (experts - 1), (token + 1) % (experts - 1), experts};
  }
  static float weight_of(std::int64_t token, std::int64_t e) {
    return 0.3f + 0.01f * static_cast<float>(token % 7) + 0.1f * static_cast<float>(e);
  }

  /// Tokens [first, first + count) of x.
  std::vector<float> run(const KernelTable& table, int threads, const std::vector<float>& x,
                         std::int64_t first, std::int64_t count) const {
    std::vector<FfnJob> jobs;
    std::vector<std::int32_t> rows;
    std::vector<float> scales;
    for (std::int64_t e = 0; e <= experts; ++e) {
      const Ffn& f = ffns_[index(e)];
      const auto pointer = [](const std::vector<float>& v) {
        return v.empty() ? nullptr : v.data();
      };
      FfnJob job{f.gate.view(),      f.up.view(),          f.down.view(),   pointer(f.gate_bias),
                 pointer(f.up_bias), pointer(f.down_bias), std::ssize(rows)};
      for (std::int64_t t = first; t < first + count; ++t) {
        const auto chosen = experts_of(t);
        if (std::find(chosen.begin(), chosen.end(), e) == chosen.end()) continue;
        rows.push_back(static_cast<std::int32_t>(t - first));
        scales.push_back(weight_of(t, e));
      }
      job.end = std::ssize(rows);
      jobs.push_back(job);
    }
    Executor executor(threads);
    Arena arena;
    std::vector<float> y(index(count * d), 0.25f);
    grouped_ffn({table, executor, arena}, {jobs, rows.data(), scales.data(), x.data() + first * d,
                                           y.data(), count, d, d, kind_});
    return y;
  }

  std::vector<double> expected(const std::vector<float>& x, std::int64_t count) const {
    std::vector<double> y(index(count * d), 0.25);
    const auto at = [](const std::vector<float>& bias, std::int64_t i) {
      return bias.empty() ? 0.0 : bias[index(i)];
    };
    for (std::int64_t t = 0; t < count; ++t) {
      const std::vector<double> row(x.begin() + t * d, x.begin() + (t + 1) * d);
      for (const std::int64_t e : experts_of(t)) {
        const Ffn& f = ffns_[index(e)];
        std::vector<double> h;
        for (std::int64_t n = 0; n < f.width; ++n) {
          const double up = f.up.times(n, row) + at(f.up_bias, n);
          if (f.gate.view().data == nullptr) {
            h.push_back(act(kind_, up));
          } else {
            h.push_back(act(kind_, f.gate.times(n, row) + at(f.gate_bias, n)) * up);
          }
        }
        for (std::int64_t c = 0; c < d; ++c) {
          y[index(t * d + c)] += weight_of(t, e) * (f.down.times(c, h) + at(f.down_bias, c));
        }
      }
    }
    return y;
  }

 private:
  Activation kind_;
  std::vector<Ffn> ffns_;
};

TEST(GroupedFfn, IsTheWeightedSumOfItsFfns) {
  constexpr std::int64_t tokens = 90;
  const std::vector<float> x = normal(tokens * Layer::d, 7);
  for_each_table_and_type([&](const KernelTable& table, PackedType type, double tolerance) {
    for (const bool gated : {true, false}) {
      for (const bool biased : {true, false}) {
        const Layer layer(type, type, gated, biased, Activation::silu, 32);
        for (const std::int64_t count : {std::int64_t{1}, std::int64_t{3}, tokens}) {
          EXPECT_LT(distance(layer.run(table, 3, x, 0, count), layer.expected(x, count)),
                    2 * tolerance)
              << gated << biased << count;
        }
      }
    }
  });
}

TEST(GroupedFfn, EveryActivation) {
  const std::vector<float> x = normal(9 * Layer::d, 8, 3.0);
  for_each_table_and_type([&](const KernelTable& table, PackedType type, double tolerance) {
    for (const Activation kind :
         {Activation::silu, Activation::gelu_tanh, Activation::gelu_erf, Activation::relu}) {
      const Layer layer(type, type, true, false, kind, 32);
      EXPECT_LT(distance(layer.run(table, 2, x, 0, 9), layer.expected(x, 9)), 2 * tolerance)
          << static_cast<int>(kind);
    }
  });
}

TEST(GroupedFfn, DownMayBeOfAnotherTypeAndGroupsOfAnyLength) {
  const std::vector<float> x = normal(30 * Layer::d, 9);
  for_each_table_and_type([&](const KernelTable& table, PackedType type, double) {
    for (const std::int64_t group : {8, 24, 64}) {
      const Layer layer(type, PackedType::int8, true, true, Activation::silu, group);
      EXPECT_LT(distance(layer.run(table, 2, x, 0, 30), layer.expected(x, 30)), 2e-2) << group;
    }
  });
}

TEST(GroupedFfn, BitsDependNeitherOnThreadsNorOnOtherTokens) {
  constexpr std::int64_t tokens = 90;
  const std::vector<float> x = normal(tokens * Layer::d, 10);
  for_each_table_and_type([&](const KernelTable& table, PackedType type, double) {
    const Layer layer(type, type, true, true, Activation::silu, 32);
    const std::vector<float> together = layer.run(table, 1, x, 0, tokens);
    EXPECT_EQ(layer.run(table, 3, x, 0, tokens), together);
    for (const std::int64_t t : {0, 1, 44, 89}) {
      const std::vector<float> alone = layer.run(table, 2, x, t, 1);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + t * Layer::d)) << t;
    }
  });
}

TEST(GroupedFfn, WithoutRowsNothingIsWritten) {
  Executor executor(2);
  Arena arena;
  const RandomMatrix w(PackedType::bf16, 32, 32, 32, 1);
  const FfnJob jobs[] = {{w.view(), w.view(), w.view()}};
  grouped_ffn({*table(), executor, arena}, {jobs});
  EXPECT_EQ(arena.reserved() > (1 << 20), false);
}

}  // namespace
}  // namespace moebius::kernels

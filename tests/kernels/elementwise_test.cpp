// What goes over values one by one, for every table that this processor has, in double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/kernels.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

TEST(Norm, OfRmsAndOfLayers) {
  for_each_table([](const KernelTable& table) {
    for (const std::int64_t columns : {1, 7, 16, 33, 1000}) {
      const std::int64_t m = 3, ldx = columns + 2, ldy = columns + 1;
      std::vector<float> x = normal(m * ldx, 1), w = normal(columns, 2), b = normal(columns, 3);
      for (float& value : x) value += 5;
      for (const bool centred : {false, true}) {
        std::vector<float> y(static_cast<std::size_t>(m * ldy), -7.0f);
        table.norm({x.data(), y.data(), w.data(), centred ? b.data() : nullptr, m, columns, ldx,
                    ldy, 1e-5f, centred});
        for (std::int64_t r = 0; r < m; ++r) {
          double mean = 0, squares = 0;
          for (std::int64_t c = 0; c < columns; ++c) mean += x[r * ldx + c];
          mean = centred ? mean / static_cast<double>(columns) : 0;
          for (std::int64_t c = 0; c < columns; ++c) squares += std::pow(x[r * ldx + c] - mean, 2);
          const double scale = 1 / std::sqrt(squares / static_cast<double>(columns) + 1e-5);
          for (std::int64_t c = 0; c < columns; ++c) {
            const double expected = (x[r * ldx + c] - mean) * scale * w[c] + (centred ? b[c] : 0);
            ASSERT_NEAR(y[r * ldy + c], expected, 1e-5 * (1 + std::fabs(expected))) << columns;
          }
          EXPECT_EQ(y[r * ldy + columns], -7.0f);
        }
      }
    }
  });
}

TEST(Norm, InPlaceGivesTheSame) {
  for_each_table([](const KernelTable& table) {
    std::vector<float> x = normal(77, 4), y(77);
    const std::vector<float> w = normal(77, 5);
    table.norm({x.data(), y.data(), w.data(), nullptr, 1, 77, 77, 77, 1e-6f, false});
    table.norm({x.data(), x.data(), w.data(), nullptr, 1, 77, 77, 77, 1e-6f, false});
    EXPECT_EQ(x, y);
  });
}

TEST(Rotate, TurnsPairsOfTheLastDimensions) {
  for_each_table([](const KernelTable& table) {
    for (const std::int64_t half : {1, 5, 16, 32}) {
      const std::int64_t m = 2, heads = 3, dim = 2 * half + 3, ldx = heads * dim + 4;
      const std::vector<float> before = normal(m * ldx, 6), angles = normal(m * half, 7);
      std::vector<float> x = before, cos, sin;
      for (const float angle : angles) {
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
      table.rotate({x.data(), cos.data(), sin.data(), m, heads, dim, half, ldx});
      for (std::int64_t r = 0; r < m; ++r) {
        for (std::int64_t i = 0; i < ldx; ++i) {
          const std::int64_t place = i % dim - 3, at = r * ldx + i;
          double expected = before[at];
          if (i < heads * dim && place >= 0) {
            const double angle = angles[r * half + place % half];
            expected = place < half
                           ? before[at] * std::cos(angle) - before[at + half] * std::sin(angle)
                           : before[at] * std::cos(angle) + before[at - half] * std::sin(angle);
          }
          ASSERT_NEAR(x[at], expected, 1e-6 * (1 + std::fabs(expected))) << half << " " << i;
        }
      }
    }
  });
}

TEST(ActivateKernel, OverTheWholeRangeOfFloats) {
  std::vector<float> x;
  for (float size = 1e-38f; size < 1e38f; size *= 1.7f) {
    x.push_back(size);
    x.push_back(-size);
  }
  while (x.size() % 16 != 0) x.push_back(0);
  const auto columns = std::ssize(x);
  for_each_table([&](const KernelTable& table) {
    std::vector<float> h(x.size());
    const auto check = [&](Activation kind, double tolerance, auto expected) {
      table.activate({kind, x.data(), h.data(), 1, columns, 0, columns, columns});
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double y = expected(static_cast<double>(x[i]));
        ASSERT_NEAR(h[i], y, tolerance * std::max(std::fabs(y), 1e-3 * std::fabs(x[i])) + 1e-36)
            << static_cast<int>(kind) << " of " << x[i];
      }
    };
    check(Activation::relu, 0, [](double v) { return std::max(v, 0.0); });
    check(Activation::silu, 1e-6, [](double v) { return v / (1 + std::exp(-v)); });
    check(Activation::gelu_tanh, 2e-4, [](double v) {
      return v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    });
    check(Activation::gelu_erf, 5e-4,
          [](double v) { return v / 2 * (1 + std::erf(v / std::sqrt(2.0))); });
  });
}

TEST(AdamWKernel, IsTheFormulaInEveryPrecision) {
  struct Case {
    ValueType type, means;
    bool master;
    double tolerance;
  };
  constexpr std::int64_t count = 75;
  const std::vector<float> w = normal(count, 1), g = normal(count, 2), m = normal(count, 3);
  std::vector<float> v = normal(count, 4);
  for (float& each : v) each *= each;
  for_each_table([&](const KernelTable& table) {
    for (const Case& c : {Case{ValueType::f32, ValueType::f32, false, 1e-6},
                          Case{ValueType::bf16, ValueType::f32, true, 1e-6},
                          Case{ValueType::bf16, ValueType::bf16, false, 4e-3}}) {
      const auto stored = [](const std::vector<float>& values, ValueType type) {
        std::vector<std::byte> out(values.size() * static_cast<std::size_t>(size_of(type)));
        for (std::size_t i = 0; i < values.size(); ++i) {
          store_weight(out.data(), type == ValueType::f32 ? DType::f32 : DType::bf16, i, values[i]);
        }
        return out;
      };
      const auto at = [](const std::vector<std::byte>& bytes, ValueType type, std::size_t i) {
        return static_cast<double>(
            load_weight(bytes.data(), type == ValueType::f32 ? DType::f32 : DType::bf16, i));
      };
      auto value = stored(w, c.type), gradient = stored(g, c.type);
      auto first = stored(m, c.means), second = stored(v, c.means);
      std::vector<float> master = w;
      const auto before_w = value, before_m = first, before_v = second;
      table.adamw({value.data(), gradient.data(), first.data(), second.data(),
                   c.master ? master.data() : nullptr, c.type, c.means, count, 0.5f, 0.1f, 0.8f,
                   0.9f, 1e-6f, 0.3f, 0.36f, 0.19f});
      for (std::size_t i = 0; i < count; ++i) {
        const double gi = 0.5 * at(gradient, c.type, i);
        const double mi = 0.8 * at(before_m, c.means, i) + 0.2 * gi;
        const double vi = 0.9 * at(before_v, c.means, i) + 0.1 * gi * gi;
        double wi = c.master ? w[i] : at(before_w, c.type, i);
        wi -= 0.1 * 0.3 * wi;
        wi -= 0.1 * (mi / 0.36) / (std::sqrt(vi / 0.19) + 1e-6);
        EXPECT_NEAR(at(first, c.means, i), mi, c.tolerance * (1 + std::fabs(mi)));
        EXPECT_NEAR(at(second, c.means, i), vi, c.tolerance * (1 + vi));
        if (c.master) {
          EXPECT_NEAR(master[i], wi, c.tolerance * (1 + std::fabs(wi)));
          EXPECT_EQ(at(value, c.type, i), bf16_to_f32(f32_to_bf16(master[i])));
        } else {
          EXPECT_NEAR(at(value, c.type, i), wi, c.tolerance * (1 + std::fabs(wi)));
        }
      }
    }
  });
}

TEST(AdamWKernel, SumOfSquaresIsExactOverManyValues) {
  for_each_table([](const KernelTable& table) {
    for (const std::int64_t count : {1, 15, 1024, 5001}) {
      const std::vector<float> x = normal(count, 5);
      double sum = 0;
      for (const float each : x) sum += static_cast<double>(each) * each;
      EXPECT_NEAR(table.sum_of_squares(x.data(), ValueType::f32, count), sum, 1e-6 * sum);
    }
  });
}

}  // namespace
}  // namespace moebius::kernels

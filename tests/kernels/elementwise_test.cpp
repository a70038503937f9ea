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

/// Calls fn(table, type, what rounding may cost).
template <class Fn>
void for_each_table_and_type(Fn fn) {
  for_each_table([&](const KernelTable& table) {
    fn(table, ValueType::f32, 1e-5);
    fn(table, ValueType::bf16, 4e-3);
  });
}

/// y of one row.
Values normed(const Values& x, const Values& w, const Values& b, bool centred) {
  const auto count = static_cast<double>(x.size());
  double mean = 0, squares = 0;
  for (const double each : x) mean += centred ? each / count : 0;
  for (const double each : x) squares += std::pow(each - mean, 2);
  const double scale = 1 / std::sqrt(squares / count + 1e-5);
  Values y;
  for (std::size_t c = 0; c < x.size(); ++c) {
    y.push_back((x[c] - mean) * scale * w[c] + (centred ? b[c] : 0));
  }
  return y;
}

TEST(Norm, OfRmsAndOfLayers) {
  for_each_table_and_type([](const KernelTable& table, ValueType type, double tolerance) {
    for (const std::int64_t columns : {1, 7, 16, 33, 1000}) {
      const std::int64_t m = 3, ldx = columns + 2, ldy = columns + 1;
      std::vector<float> values = normal(m * ldx, 1);
      for (float& value : values) value += 5;
      const std::vector<float> w = normal(columns, 2), b = normal(columns, 3);
      const Stored x(type, values);
      for (const bool centred : {false, true}) {
        Stored y(type, m * ldy);
        table.norm({x.bytes.data(), y.bytes.data(), type, w.data(), centred ? b.data() : nullptr, m,
                    columns, ldx, ldy, 1e-5f, centred});
        const Values from = x.values(), to = y.values();
        for (std::int64_t r = 0; r < m; ++r) {
          const auto row = from.begin() + r * ldx;
          const Values expected =
              normed({row, row + columns}, {w.begin(), w.end()}, {b.begin(), b.end()}, centred);
          for (std::int64_t c = 0; c < columns; ++c) {
            const double e = expected[index(c)];
            ASSERT_NEAR(to[index(r * ldy + c)], e, tolerance * (1 + std::fabs(e))) << columns;
          }
          EXPECT_EQ(to[index(r * ldy + columns)], -7.0);
        }
      }
    }
  });
}

TEST(Norm, InPlaceGivesTheSame) {
  for_each_table([](const KernelTable& table) {
    std::vector<float> x = normal(77, 4), y(77);
    const std::vector<float> w = normal(77, 5);
    const Norm args{x.data(), y.data(), ValueType::f32, w.data(), nullptr, 1, 77,
                    77,       77,       1e-6f,          false};
    Norm in_place = args;
    in_place.y = x.data();
    table.norm(args);
    table.norm(in_place);
    EXPECT_EQ(x, y);
  });
}

TEST(NormBackward, IsTheSlopeOfTheNorm) {
  for_each_table_and_type([](const KernelTable& table, ValueType type, double tolerance) {
    for (const std::int64_t columns : {1, 7, 16, 33, 100}) {
      constexpr std::int64_t m = 3;
      const std::vector<float> w = normal(columns, 2);
      const Stored x(type, normal(m * columns, 1)), dy(type, normal(m * columns, 3));
      for (const bool centred : {false, true}) {
        Values from[] = {x.values(), {w.begin(), w.end()}, Values(index(columns))};
        const Values weights_of_y = dy.values();
        const auto sum = [&] {
          double total = 0;
          for (std::int64_t r = 0; r < m; ++r) {
            const auto row = from[0].begin() + r * columns;
            const Values y = normed({row, row + columns}, from[1], from[2], centred);
            for (std::size_t c = 0; c < y.size(); ++c) {
              total += y[c] * weights_of_y[index(r * columns) + c];
            }
          }
          return total;
        };
        Stored dx(type, m * columns);
        std::vector<float> dw(index(columns), 1), db(index(columns), 1);
        table.norm_backward({x.bytes.data(), dy.bytes.data(), dx.bytes.data(), type, w.data(),
                             dw.data(), centred ? db.data() : nullptr, m, columns, 1e-5f, centred});
        for (float& each : dw) each -= 1;  // they are added
        for (float& each : db) each -= 1;
        const Values got[] = {dx.values(), {dw.begin(), dw.end()}, {db.begin(), db.end()}};
        for (std::size_t i = 0; i < (centred ? 3 : 2); ++i) {
          for (std::size_t at = 0; at < from[i].size(); ++at) {
            constexpr double step = 1e-5;
            const double before = from[i][at];
            from[i][at] = before + step;
            const double more = sum();
            from[i][at] = before - step;
            const double slope = (more - sum()) / (2 * step);
            from[i][at] = before;
            ASSERT_NEAR(got[i][at], slope, tolerance * (3 + std::fabs(slope)))
                << columns << " " << i << " " << centred;
          }
        }
      }
    }
  });
}

TEST(Rotate, TurnsPairsOfTheLastDimensionsThereAndBack) {
  for_each_table_and_type([](const KernelTable& table, ValueType type, double tolerance) {
    for (const std::int64_t half : {1, 5, 16, 37}) {
      const std::int64_t m = 2, heads = 3, dim = 2 * half + 3, ldx = heads * dim + 4;
      const std::int64_t ldy = heads * dim;
      const Stored x(type, normal(m * ldx, 6));
      const std::vector<float> angles = normal(m * half, 7);
      std::vector<float> cos, sin;
      for (const float angle : angles) {
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
      for (const bool interleaved : {false, true}) {
        Stored y(type, m * ldy), again(type, m * ldx);
        const Rotate there{x.bytes.data(),
                           y.bytes.data(),
                           type,
                           cos.data(),
                           sin.data(),
                           m,
                           heads,
                           dim,
                           half,
                           ldx,
                           ldy,
                           interleaved};
        table.rotate(there);
        Rotate back = there;
        std::swap(back.ldx, back.ldy);
        back.x = y.bytes.data();
        back.y = again.bytes.data();
        back.inverse = true;
        table.rotate(back);
        const Values before = x.values(), to = y.values(), returned = again.values();
        for (std::int64_t i = 0; i < m * heads * dim; ++i) {
          const std::int64_t r = i / ldy, h = i / dim % heads, place = i % dim - 3;
          const std::int64_t head = r * ldx + h * dim, at = head + i % dim;
          ASSERT_NEAR(returned[index(at)], before[index(at)],
                      2 * tolerance * (1 + std::fabs(before[index(at)])));
          double expected = before[index(at)];
          if (place >= 0) {
            const std::int64_t pair = place % half;
            const double angle = angles[index(r * half + pair)];
            const double u = before[index(head + 3 + (interleaved ? 2 * pair : pair))];
            const double v = before[index(head + 3 + (interleaved ? 2 * pair + 1 : pair + half))];
            expected = place < half ? u * std::cos(angle) - v * std::sin(angle)
                                    : v * std::cos(angle) + u * std::sin(angle);
          }
          ASSERT_NEAR(to[index(i)], expected, tolerance * (1 + std::fabs(expected)))
              << half << " " << i << " " << interleaved;
        }
        if (interleaved) continue;
        Stored same = x;
        Rotate in_place = there;
        in_place.x = in_place.y = same.bytes.data();
        in_place.ldy = ldx;
        table.rotate(in_place);
        for (std::int64_t i = 0; i < m * ldy; ++i) {
          EXPECT_EQ(same.values()[index(i / ldy * ldx + i % ldy)], to[index(i)]);
        }
      }
    }
  });
}

TEST(CrossEntropyKernels, AreTheFormulaAndItsSlope) {
  for_each_table_and_type([](const KernelTable& table, ValueType type, double tolerance) {
    for (const std::int64_t columns : {1, 5, 16, 100}) {
      const std::int64_t m = 3, ld = columns + 1;
      const Stored scores(type, normal(m * ld, 8, 30));
      std::vector<float> max(index(m)), sum(index(m)), log_sums;
      table.sum_exp({scores.bytes.data(), type, 0.5f, max.data(), sum.data(), m, columns, ld});
      for (std::size_t r = 0; r < index(m); ++r) log_sums.push_back(max[r] + std::log(sum[r]));
      const std::vector<std::int64_t> targets{0, columns / 2, columns - 1};
      Stored gradients(type, m * ld);
      table.cross_entropy_backward({scores.bytes.data(), gradients.bytes.data(), type,
                                    log_sums.data(), targets.data(), 0.5f, 0.3f, m, columns, ld});
      const Values x = scores.values(), got = gradients.values();
      for (std::int64_t r = 0; r < m; ++r) {
        double total = 0;
        for (std::int64_t c = 0; c < columns; ++c) total += std::exp(x[index(r * ld + c)] / 2);
        EXPECT_NEAR(log_sums[index(r)], std::log(total), 1e-5 * std::fabs(std::log(total)) + 1e-6);
        for (std::int64_t c = 0; c < columns; ++c) {
          const double share = std::exp(x[index(r * ld + c)] / 2) / total;
          EXPECT_NEAR(got[index(r * ld + c)], 0.3 * (share - (c == targets[index(r)] ? 1 : 0)),
                      0.3 * tolerance);
        }
        EXPECT_EQ(got[index(r * ld + columns)], -7.0);
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
      Stored value(c.type, w), gradient(c.type, g), first(c.means, m), second(c.means, v);
      std::vector<float> master = w;
      const Values before_w = value.values(), before_m = first.values();
      const Values before_v = second.values(), gradients = gradient.values();
      table.adamw({value.bytes.data(), gradient.bytes.data(), first.bytes.data(),
                   second.bytes.data(), c.master ? master.data() : nullptr, c.type, c.means, count,
                   0.5f, 0.1f, 0.8f, 0.9f, 1e-6f, 0.3f, 0.36f, 0.19f});
      const Values after_w = value.values(), after_m = first.values(), after_v = second.values();
      for (std::size_t i = 0; i < count; ++i) {
        const double gi = 0.5 * gradients[i];
        const double mi = 0.8 * before_m[i] + 0.2 * gi;
        const double vi = 0.9 * before_v[i] + 0.1 * gi * gi;
        double wi = c.master ? w[i] : before_w[i];
        wi -= 0.1 * 0.3 * wi;
        wi -= 0.1 * (mi / 0.36) / (std::sqrt(vi / 0.19) + 1e-6);
        EXPECT_NEAR(after_m[i], mi, c.tolerance * (1 + std::fabs(mi)));
        EXPECT_NEAR(after_v[i], vi, c.tolerance * (1 + vi));
        if (c.master) {
          EXPECT_NEAR(master[i], wi, c.tolerance * (1 + std::fabs(wi)));
          EXPECT_EQ(after_w[i], bf16_to_f32(f32_to_bf16(master[i])));
        } else {
          EXPECT_NEAR(after_w[i], wi, c.tolerance * (1 + std::fabs(wi)));
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

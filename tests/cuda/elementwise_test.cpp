// What a GPU does to values one by one, in double precision beside it.
#include <gtest/gtest.h>

#include "kernels/cuda/kernels.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

/// Calls fn(type, what rounding may cost).
template <class Fn>
void for_each_type(Fn fn) {
  fn(ValueType::f32, 1e-6);
  fn(ValueType::bf16, 4e-3);
}

TEST(CudaActivate, EveryKindWithAndWithoutGate) {
  for_each_type([](ValueType type, double rounding) {
    for (const auto& [rows, columns] : {std::pair{1, 1}, {3, 37}, {5, 512}}) {
      const std::int64_t ldx = columns + 2, ldh = columns + 1;
      const Stored gate(type, normal(rows * ldx, 1)), up(type, normal(rows * ldx, 2));
      for (const Activation kind :
           {Activation::silu, Activation::gelu_tanh, Activation::gelu_erf, Activation::relu}) {
        for (const bool gated : {false, true}) {
          Stored h(type, rows * ldh);
          ASSERT_EQ(cuda::activate({kind, type, gated ? gate.bytes.data() : nullptr,
                                    up.bytes.data(), h.bytes.data(), rows, columns, ldx, ldh},
                                   nullptr),
                    nullptr);
          const Values g = gate.values(), u = up.values();
          Values expected(index(rows * ldh), -7);
          for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t c = 0; c < columns; ++c) {
              const std::size_t at = index(r * ldx + c);
              expected[index(r * ldh + c)] = gated ? act(kind, g[at]) * u[at] : act(kind, u[at]);
            }
          }
          EXPECT_LT(distance(h.values(), expected), rounding) << int(kind) << " " << gated;
        }
      }
    }
  });
}

TEST(CudaCombine, AddsWhatExpertsSharedPartAndResidualGive) {
  constexpr std::int64_t tokens = 5, top_k = 3, columns = 301;
  std::vector<std::int32_t> places;
  for (int i = 0; i < tokens * top_k; ++i) places.push_back(7 * i % int(tokens * top_k));
  const std::vector<float> weights = normal(tokens * top_k, 3);
  for_each_type([&](ValueType type, double rounding) {
    const Stored x(type, normal(tokens * top_k * columns, 4)),
        shared(type, normal(tokens * columns, 5));
    const Stored residual(type, normal(tokens * columns, 6));
    for (const bool more : {false, true}) {
      Stored y(type, tokens * columns);
      ASSERT_EQ(cuda::combine(
                    {type, x.bytes.data(), places.data(), weights.data(),
                     more ? shared.bytes.data() : nullptr, more ? residual.bytes.data() : nullptr,
                     y.bytes.data(), 0.5f, tokens, top_k, columns},
                    nullptr),
                nullptr);
      const Values from = x.values(), beside = shared.values(), before = residual.values();
      Values expected(index(tokens * columns));
      for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t c = 0; c < columns; ++c) {
          const std::size_t at = index(t * columns + c);
          double sum = more ? beside[at] : 0;
          for (std::int64_t k = 0; k < top_k; ++k) {
            const std::size_t i = index(t * top_k + k);
            sum += weights[i] * from[index(places[i] * columns + c)];
          }
          expected[at] = (more ? before[at] : 0) + 0.5 * sum;
        }
      }
      EXPECT_LT(distance(y.values(), expected), rounding);
    }
  });
}

TEST(CudaNorm, RmsAndLayerNorm) {
  for_each_type([](ValueType type, double rounding) {
    for (const ValueType weights : {ValueType::f32, ValueType::bf16}) {
      for (const auto& [rows, width] : {std::pair{1, 1}, {2, 40}, {3, 700}}) {
        const std::int64_t columns = width;
        const Stored x(type, normal(rows * columns, 7)), w(weights, normal(columns, 8)),
            b(weights, normal(columns, 9));
        for (const bool centred : {false, true}) {
          Stored y(type, rows * columns);
          ASSERT_EQ(cuda::norm({type, weights, x.bytes.data(), w.bytes.data(),
                                centred ? b.bytes.data() : nullptr, y.bytes.data(), rows, columns,
                                1e-3f, centred},
                               nullptr),
                    nullptr);
          const Values from = x.values(), scale = w.values(), bias = b.values();
          Values expected(from.size());
          for (std::int64_t r = 0; r < rows; ++r) {
            const auto at = [&](std::int64_t c) { return from[index(r * columns + c)]; };
            double mean = 0, squares = 0;
            for (std::int64_t c = 0; c < columns && centred; ++c) mean += at(c) / columns;
            for (std::int64_t c = 0; c < columns; ++c)
              squares += std::pow(at(c) - mean, 2) / columns;
            for (std::int64_t c = 0; c < columns; ++c) {
              expected[index(r * columns + c)] =
                  (at(c) - mean) / std::sqrt(squares + 1e-3) * scale[index(c)] +
                  (centred ? bias[index(c)] : 0);
            }
          }
          EXPECT_LT(distance(y.values(), expected), rounding) << rows << " " << columns;
        }
      }
    }
  });
}

TEST(CudaRotate, HalvesAndNeighboursOfWhatTurns) {
  constexpr std::int64_t rows = 3, heads = 5, dim = 22, half = 8, stays = dim - 2 * half;
  constexpr std::int64_t ldx = heads * dim + 4, ldy = heads * dim + 1;
  const auto angle = [](std::int64_t row, std::int64_t i) {
    return double(41 + 3 * row) * std::pow(100.0, -double(i) / half);
  };
  std::vector<float> cos, sin;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < half; ++i) {
      cos.push_back(float(1.25 * std::cos(angle(r, i))));
      sin.push_back(float(1.25 * std::sin(angle(r, i))));
    }
  }
  for_each_type([&](ValueType type, double rounding) {
    const Stored x(type, normal(rows * ldx, 10));
    for (const bool interleaved : {false, true}) {
      Stored y(type, rows * ldy);
      ASSERT_EQ(cuda::rotate({type, x.bytes.data(), y.bytes.data(), cos.data(), sin.data(), rows,
                              heads, dim, half, ldx, ldy, interleaved},
                             nullptr),
                nullptr);
      const Values from = x.values();
      Values expected(index(rows * ldy), -7);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t h = 0; h < heads; ++h) {
          const auto at = [&](std::int64_t i) { return from[index(r * ldx + h * dim + i)]; };
          double* to = &expected[index(r * ldy + h * dim)];
          for (std::int64_t i = 0; i < stays; ++i) to[i] = at(i);
          for (std::int64_t i = 0; i < half; ++i) {
            const double c = 1.25 * std::cos(angle(r, i)), z = 1.25 * std::sin(angle(r, i));
            const double u = at(stays + (interleaved ? 2 * i : i));
            const double v = at(stays + (interleaved ? 2 * i + 1 : half + i));
            to[stays + i] = u * c - v * z;
            to[stays + half + i] = v * c + u * z;
          }
        }
      }
      EXPECT_LT(distance(y.values(), expected), 5 * rounding) << interleaved;
    }
  });
}

TEST(CudaKernels, RefuseWhatTheyDoNotComputeWith) {
  EXPECT_NE(cuda::norm({.type = ValueType::f16, .rows = 1, .columns = 1}, nullptr), nullptr);
}

}  // namespace
}  // namespace moebius::kernels

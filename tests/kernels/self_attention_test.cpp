// Causal attention and its way back, for every table that this processor has, against a reference
// in double precision, which itself is checked by central differences.
#include "kernels/self_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/dtype.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

using Values = std::vector<double>;

struct Shape {
  std::int64_t sequences, tokens, heads, groups, key_dim, value_dim, window = 0;
  double scale = 0.3;
};

struct Problem {
  Shape s;
  Values q, k, v, dy;

  Problem(const Shape& shape, bool bf16) : s(shape) {
    const auto values = [&](std::int64_t columns, std::uint64_t stream) {
      Values out;
      for (const float x : normal(s.sequences * s.tokens * columns, stream)) {
        out.push_back(bf16 ? bf16_to_f32(f32_to_bf16(x)) : x);
      }
      return out;
    };
    q = values(s.heads * s.key_dim, 1);
    k = values(s.groups * s.key_dim, 2);
    v = values(s.groups * s.value_dim, 3);
    dy = values(s.heads * s.value_dim, 4);
  }

  /// Calls fn(query row, head, group, shares over tokens from `first` on, that row's sequence).
  template <class Fn>
  void for_each_query(Fn fn) const {
    for (std::int64_t b = 0; b < s.sequences; ++b) {
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        const std::int64_t first = s.window > 0 ? std::max<std::int64_t>(0, t + 1 - s.window) : 0;
        for (std::int64_t h = 0; h < s.heads; ++h) {
          const std::int64_t g = h * s.groups / s.heads, row = b * s.tokens + t;
          Values shares;
          double sum = 0, most = -INFINITY;
          for (std::int64_t j = first; j <= t; ++j) {
            double score = 0;
            for (std::int64_t a = 0; a < s.key_dim; ++a)
              score += q_at(row, h, a) * k_at(b, j, g, a);
            shares.push_back(s.scale * score);
            most = std::max(most, shares.back());
          }
          for (double& p : shares) sum += p = std::exp(p - most);
          for (double& p : shares) p /= sum;
          fn(row, h, g, b * s.tokens + first, shares);
        }
      }
    }
  }
  double q_at(std::int64_t row, std::int64_t h, std::int64_t a) const {
    return q[index((row * s.heads + h) * s.key_dim + a)];
  }
  double k_at(std::int64_t b, std::int64_t j, std::int64_t g, std::int64_t a) const {
    return k[index(((b * s.tokens + j) * s.groups + g) * s.key_dim + a)];
  }
};

struct Result {
  Values y, dq, dk, dv;
};

Result reference(const Problem& p) {
  const Shape& s = p.s;
  Result out{Values(p.dy.size()), Values(p.q.size()), Values(p.k.size()), Values(p.v.size())};
  p.for_each_query([&](std::int64_t row, std::int64_t h, std::int64_t g, std::int64_t first,
                       const Values& shares) {
    const std::size_t to = index((row * s.heads + h) * s.value_dim);
    Values dshares;
    double mean = 0;
    for (std::size_t j = 0; j < shares.size(); ++j) {
      const std::size_t from =
          index(((first + static_cast<std::int64_t>(j)) * s.groups + g) * s.value_dim);
      double d = 0;
      for (std::size_t a = 0; a < index(s.value_dim); ++a) {
        out.y[to + a] += shares[j] * p.v[from + a];
        out.dv[from + a] += shares[j] * p.dy[to + a];
        d += p.dy[to + a] * p.v[from + a];
      }
      dshares.push_back(d);
      mean += shares[j] * d;
    }
    for (std::size_t j = 0; j < shares.size(); ++j) {
      const double d = shares[j] * (dshares[j] - mean) * s.scale;
      const std::size_t key =
          index(((first + static_cast<std::int64_t>(j)) * s.groups + g) * s.key_dim);
      const std::size_t query = index((row * s.heads + h) * s.key_dim);
      for (std::size_t a = 0; a < index(s.key_dim); ++a) {
        out.dq[query + a] += d * p.k[key + a];
        out.dk[key + a] += d * p.q[query + a];
      }
    }
  });
  return out;
}

TEST(SelfAttentionReference, AgreesWithCentralDifferences) {
  Problem p({2, 7, 4, 2, 5, 3, 4}, false);
  const Result expected = reference(p);
  const auto loss = [&] {
    const Result r = reference(p);
    double sum = 0;
    for (std::size_t i = 0; i < r.y.size(); ++i) sum += r.y[i] * p.dy[i];
    return sum;
  };
  const auto check = [&](Values& values, const Values& gradient) {
    for (std::size_t i = 0; i < values.size(); i += 3) {
      constexpr double step = 1e-5;
      const double middle = values[i];
      values[i] = middle + step;
      const double above = loss();
      values[i] = middle - step;
      const double below = loss();
      values[i] = middle;
      EXPECT_NEAR((above - below) / (2 * step), gradient[i], 1e-7);
    }
  };
  check(p.q, expected.dq);
  check(p.k, expected.dk);
  check(p.v, expected.dv);
}

/// Rows of `columns` values, `ld` apart, as the kernels take them.
struct Rows {
  ValueType type;
  std::int64_t columns, ld;
  std::vector<std::byte> bytes;

  Rows(ValueType of, std::int64_t rows, std::int64_t width, std::int64_t apart)
      : type(of), columns(width), ld(apart), bytes(index(rows * apart * size_of(of))) {}
  Rows(ValueType of, const Values& from, std::int64_t width, std::int64_t apart)
      : Rows(of, std::ssize(from) / width, width, apart) {
    for (std::int64_t i = 0; i < std::ssize(from); ++i) {
      store_weight(bytes.data(), dtype(), index(i / columns * ld + i % columns),
                   static_cast<float>(from[index(i)]));
    }
  }
  DType dtype() const { return type == ValueType::f32 ? DType::f32 : DType::bf16; }
  Values values() const {
    Values out;
    const std::int64_t rows = std::ssize(bytes) / (ld * size_of(type));
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      out.push_back(load_weight(bytes.data(), dtype(), index(i / columns * ld + i % columns)));
    }
    return out;
  }
};

Result run(const KernelTable& table, ValueType type, int threads, const Problem& p) {
  const Shape& s = p.s;
  const std::int64_t wide = s.heads * s.key_dim, keys = s.groups * s.key_dim;
  const std::int64_t values = s.groups * s.value_dim, out = s.heads * s.value_dim;
  const std::int64_t rows = s.sequences * s.tokens;
  const Rows q(type, p.q, wide, wide + 3), k(type, p.k, keys, keys + 1),
      v(type, p.v, values, values);
  const Rows dy(type, p.dy, out, out);
  Rows y(type, rows, out, out), dq(type, rows, wide, wide), dk(type, rows, keys, keys);
  Rows dv(type, rows, values, values);
  std::vector<float> log_sums(index(rows * s.heads));
  Executor executor(threads);
  Arena arena;
  const CpuContext cpu{table, executor, arena};
  const SelfAttention args{.q = q.bytes.data(),
                           .k = k.bytes.data(),
                           .v = v.bytes.data(),
                           .ldq = q.ld,
                           .ldk = k.ld,
                           .ldv = v.ld,
                           .type = type,
                           .sequences = s.sequences,
                           .tokens = s.tokens,
                           .heads = s.heads,
                           .groups = s.groups,
                           .key_dim = s.key_dim,
                           .value_dim = s.value_dim,
                           .window = s.window,
                           .scale = static_cast<float>(s.scale)};
  self_attention(cpu, args, y.bytes.data(), log_sums.data());
  self_attention_backward(cpu, args, log_sums.data(), dy.bytes.data(), dq.bytes.data(),
                          dk.bytes.data(), dv.bytes.data());
  return {y.values(), dq.values(), dk.values(), dv.values()};
}

const std::vector<Shape> shapes{{1, 1, 1, 1, 4, 4},     {2, 37, 4, 2, 16, 16},
                                {1, 70, 3, 1, 9, 21},   {3, 33, 2, 2, 40, 33, 10},
                                {1, 95, 2, 1, 8, 8, 1}, {1, 64, 4, 4, 64, 64, 0, 0.125},
                                {1, 900, 1, 1, 6, 5},   {1, 701, 2, 1, 6, 5, 300, 0.4}};

TEST(SelfAttention, IsWhatTheReferenceSays) {
  for (const Shape& shape : shapes) {
    for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
      const Problem p(shape, type == ValueType::bf16);
      const Result expected = reference(p);
      const double tolerance = type == ValueType::f32 ? 1e-5 : 1e-2;
      for_each_table([&](const KernelTable& table) {
        const Result got = run(table, type, 2, p);
        EXPECT_LT(distance(got.y, expected.y), tolerance) << shape.tokens;
        EXPECT_LT(distance(got.dv, expected.dv), tolerance) << shape.tokens;
        if (shape.tokens == 1 || shape.window == 1) return;  // one share of one: no gradient
        EXPECT_LT(distance(got.dq, expected.dq), 2 * tolerance) << shape.tokens;
        EXPECT_LT(distance(got.dk, expected.dk), 2 * tolerance) << shape.tokens;
      });
    }
  }
}

TEST(SelfAttention, BitsDoNotDependOnThreads) {
  const Problem p({3, 70, 4, 2, 16, 16, 20}, true);
  for_each_table([&](const KernelTable& table) {
    for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
      const Result alone = run(table, type, 1, p), together = run(table, type, 3, p);
      EXPECT_EQ(alone.y, together.y);
      EXPECT_EQ(alone.dq, together.dq);
      EXPECT_EQ(alone.dk, together.dk);
      EXPECT_EQ(alone.dv, together.dv);
    }
  });
}

TEST(SelfAttention, ScoresBeyondTheRangeOfExponentialsAreFine) {
  const Problem p({1, 40, 1, 1, 8, 8, 0, 100.0}, false);
  const Result expected = reference(p);
  for_each_table([&](const KernelTable& table) {
    EXPECT_LT(distance(run(table, ValueType::f32, 2, p).y, expected.y), 1e-3);
  });
}

}  // namespace
}  // namespace moebius::kernels

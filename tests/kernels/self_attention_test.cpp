// Causal self-attention over ragged batches and its backward pass, for every table that this
// processor has, against a reference in double precision, which itself is checked by central
// differences.
#include "kernels/self_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/dtype.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

using Lengths = std::vector<std::int64_t>;

struct Shape {
  Lengths lengths;  ///< of the sequences
  std::int64_t heads, groups, key_dim, value_dim, window = 0;
  double scale = 0.3;

  std::int64_t rows() const {
    return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  }
  Lengths starts() const {
    Lengths out{0};
    for (const std::int64_t length : lengths) out.push_back(out.back() + length);
    return out;
  }
};

struct Problem {
  Shape s;
  Values q, k, v, dy;

  Problem(const Shape& shape, bool bf16) : s(shape) {
    const auto values = [&](std::int64_t columns, std::uint64_t store_non_temporal) {
      Values out;
      for (const float x : normal(s.rows() * columns, store_non_temporal)) {
        out.push_back(bf16 ? bf16_to_f32(f32_to_bf16(x)) : x);
      }
      return out;
    };
    q = values(s.heads * s.key_dim, 1);
    k = values(s.groups * s.key_dim, 2);
    v = values(s.groups * s.value_dim, 3);
    dy = values(s.heads * s.value_dim, 4);
  }

  /// Sequence i alone.
  Problem sequence(std::size_t i) const {
    Problem out = *this;
    out.s.lengths = {s.lengths[i]};
    const std::int64_t begin = s.starts()[i], end = s.starts()[i + 1];
    for (Values* values : {&out.q, &out.k, &out.v, &out.dy}) {
      const std::int64_t columns = std::ssize(*values) / s.rows();
      *values = Values(values->begin() + begin * columns, values->begin() + end * columns);
    }
    return out;
  }

  /// Calls fn(query row, head, group, first key's row, probabilities from there on).
  template <class Fn>
  void for_each_query(Fn fn) const {
    const Lengths starts = s.starts();
    for (std::size_t b = 0; b < s.lengths.size(); ++b) {
      for (std::int64_t t = 0; t < s.lengths[b]; ++t) {
        const std::int64_t first = s.window > 0 ? std::max<std::int64_t>(0, t + 1 - s.window) : 0;
        for (std::int64_t h = 0; h < s.heads; ++h) {
          const std::int64_t g = h * s.groups / s.heads, row = starts[b] + t;
          Values probabilities;
          double sum = 0, largest = -INFINITY;
          for (std::int64_t j = first; j <= t; ++j) {
            double score = 0;
            for (std::int64_t a = 0; a < s.key_dim; ++a) {
              score += q_at(row, h, a) * k_at(starts[b] + j, g, a);
            }
            probabilities.push_back(s.scale * score);
            largest = std::max(largest, probabilities.back());
          }
          for (double& p : probabilities) sum += p = std::exp(p - largest);
          for (double& p : probabilities) p /= sum;
          fn(row, h, g, starts[b] + first, probabilities);
        }
      }
    }
  }
  double q_at(std::int64_t row, std::int64_t h, std::int64_t a) const {
    return q[index((row * s.heads + h) * s.key_dim + a)];
  }
  double k_at(std::int64_t row, std::int64_t g, std::int64_t a) const {
    return k[index((row * s.groups + g) * s.key_dim + a)];
  }
};

struct Result {
  Values y, dq, dk, dv;
};

Result reference(const Problem& p) {
  const Shape& s = p.s;
  Result out{Values(p.dy.size()), Values(p.q.size()), Values(p.k.size()), Values(p.v.size())};
  p.for_each_query([&](std::int64_t row, std::int64_t h, std::int64_t g, std::int64_t first,
                       const Values& probabilities) {
    const std::size_t to = index((row * s.heads + h) * s.value_dim);
    Values dprobabilities;
    double mean = 0;
    for (std::size_t j = 0; j < probabilities.size(); ++j) {
      const std::size_t from =
          index(((first + static_cast<std::int64_t>(j)) * s.groups + g) * s.value_dim);
      double d = 0;
      for (std::size_t a = 0; a < index(s.value_dim); ++a) {
        out.y[to + a] += probabilities[j] * p.v[from + a];
        out.dv[from + a] += probabilities[j] * p.dy[to + a];
        d += p.dy[to + a] * p.v[from + a];
      }
      dprobabilities.push_back(d);
      mean += probabilities[j] * d;
    }
    for (std::size_t j = 0; j < probabilities.size(); ++j) {
      const double d = probabilities[j] * (dprobabilities[j] - mean) * s.scale;
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
  Problem p({{7, 1, 4}, 4, 2, 5, 3, 4}, false);
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
  const std::int64_t rows = s.rows();
  const Lengths starts = s.starts();
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
                           .sequence_starts = starts,
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

const std::vector<Shape> shapes{{{1}, 1, 1, 4, 4},
                                {{37, 37}, 4, 2, 16, 16},
                                {{70}, 3, 1, 9, 21},
                                {{33, 33, 33}, 2, 2, 40, 33, 10},
                                {{95}, 2, 1, 8, 8, 1},
                                {{64}, 4, 4, 64, 64, 0, 0.125},
                                {{900}, 1, 1, 6, 5},
                                {{701}, 2, 1, 6, 5, 300, 0.4},
                                {{1, 70, 3, 0, 33, 1}, 4, 2, 16, 21},
                                {{5, 129, 32}, 2, 1, 9, 16, 7}};

TEST(SelfAttention, IsWhatTheReferenceSays) {
  for (const Shape& shape : shapes) {
    for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
      const Problem p(shape, type == ValueType::bf16);
      const Result expected = reference(p);
      const double tolerance = type == ValueType::f32 ? 1e-5 : 1e-2;
      for_each_table([&](const KernelTable& table) {
        const Result got = run(table, type, 2, p);
        EXPECT_LT(distance(got.y, expected.y), tolerance) << shape.rows();
        EXPECT_LT(distance(got.dv, expected.dv), tolerance) << shape.rows();
        if (shape.rows() == 1 || shape.window == 1) return;  // one key alone: no gradient
        EXPECT_LT(distance(got.dq, expected.dq), 2 * tolerance) << shape.rows();
        EXPECT_LT(distance(got.dk, expected.dk), 2 * tolerance) << shape.rows();
      });
    }
  }
}

TEST(SelfAttention, BitsDoNotDependOnThreads) {
  const Problem p({{70, 12, 70, 1}, 4, 2, 16, 16, 20}, true);
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

/// Long ones too: the backward pass holds fewer of their queries at once.
TEST(SelfAttention, ASequenceHasTheBitsThatItHasAlone) {
  const Problem p({{3, 1100, 1, 67}, 4, 2, 12, 20, 900}, true);
  for_each_table([&](const KernelTable& table) {
    if (table.isa == std::string_view("ref")) return;  // minutes
    for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
      const Result together = run(table, type, 2, p);
      Result apart;
      for (std::size_t i = 0; i < p.s.lengths.size(); ++i) {
        const Result part = run(table, type, 2, p.sequence(i));
        const auto append = [](Values& to, const Values& from) {
          to.insert(to.end(), from.begin(), from.end());
        };
        append(apart.y, part.y);
        append(apart.dq, part.dq);
        append(apart.dk, part.dk);
        append(apart.dv, part.dv);
      }
      EXPECT_EQ(together.y, apart.y);
      EXPECT_EQ(together.dq, apart.dq);
      EXPECT_EQ(together.dk, apart.dk);
      EXPECT_EQ(together.dv, apart.dv);
    }
  });
}

TEST(SelfAttention, ScoresBeyondTheRangeOfExponentialsAreFine) {
  const Problem p({{40}, 1, 1, 8, 8, 0, 100.0}, false);
  const Result expected = reference(p);
  for_each_table([&](const KernelTable& table) {
    EXPECT_LT(distance(run(table, ValueType::f32, 2, p).y, expected.y), 1e-3);
  });
}

}  // namespace
}  // namespace moebius::kernels

// Attention over pages, for every table that this processor has, against an oracle in double
// precision over the same rounded keys and values; and that a token's bits do not depend on what is
// computed beside it.
#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t key_dim = 72, value_dim = 20, groups = 2, heads = 6;
/// Where the layer begins in its pages.
constexpr std::int64_t before = 128;

constexpr PackedType types[] = {PackedType::f32, PackedType::bf16, PackedType::int8};

/// Values of some rows as a page keeps them: int8 by 64 neighbours of a row.
std::vector<float> as_kept(std::vector<float> x, std::int64_t columns, PackedType type) {
  if (type == PackedType::f32) return x;
  if (type == PackedType::bf16) {
    for (float& value : x) value = bf16_to_f32(f32_to_bf16(value));
    return x;
  }
  for (auto row = x.begin(); row != x.end(); row += columns) {
    for (std::int64_t begin = 0; begin < columns; begin += 64) {
      const auto first = row + begin, last = row + std::min<std::int64_t>(begin + 64, columns);
      const auto size = [](float a, float b) { return std::fabs(a) < std::fabs(b); };
      const float largest = std::fabs(*std::max_element(first, last, size));
      const float scale = bf16_to_f32(f32_to_bf16(largest / 127));
      for (auto it = first; it != last; ++it) *it = std::nearbyint(*it / scale) * scale;
    }
  }
  return x;
}

/// One sequence and its pages.
class Sequence {
 public:
  Sequence(std::int64_t tokens, std::uint64_t store_non_temporal,
           PackedType type = PackedType::bf16)
      : layout{groups, key_dim, value_dim, type},
        tokens(tokens),
        q(normal(tokens * heads * key_dim, 3 * store_non_temporal)),
        k_(normal(tokens * groups * key_dim, 3 * store_non_temporal + 1)),
        v_(normal(tokens * groups * value_dim, 3 * store_non_temporal + 2)),
        kept_k_(as_kept(k_, key_dim, type)),
        kept_v_(as_kept(v_, value_dim, type)) {
    for (std::int64_t p = 0; p * page_tokens < tokens; ++p) {
      pages_.emplace_back(index(before + layout.bytes()));
      pointers_.push_back(pages_.back().data());
    }
  }

  /// Tokens [past, past + count), once those before are in the pages.
  NewTokens part(std::int64_t past, std::int64_t count, std::vector<float>& y) const {
    y.assign(index(count * heads * value_dim), -7.0f);
    return {{pointers_.data(), before},
            q.data() + past * heads * key_dim,
            k_.data() + past * groups * key_dim,
            v_.data() + past * groups * value_dim,
            y.data(),
            count,
            past};
  }
  const std::vector<std::vector<std::byte>>& pages() const { return pages_; }
  void break_key(std::int64_t token) { fill_row(k_, token, key_dim); }
  void break_value(std::int64_t token) { fill_row(v_, token, value_dim); }

  /// What head h of a token should give.
  std::vector<double> expected(std::int64_t token, std::int64_t h, std::int64_t window,
                               double scale) const {
    const std::int64_t g = h * groups / heads;
    const auto kept = [&](const std::vector<float>& x, std::int64_t i) {
      return static_cast<double>(x[index(i)]);
    };
    std::vector<double> y(value_dim, 0.0);
    double sum = 0;
    for (std::int64_t t = window > 0 ? std::max<std::int64_t>(0, token + 1 - window) : 0;
         t <= token; ++t) {
      double score = 0;
      for (std::int64_t a = 0; a < key_dim; ++a) {
        score += q[index((token * heads + h) * key_dim + a)] *
                 kept(kept_k_, (t * groups + g) * key_dim + a);
      }
      const double p = std::exp(score * scale);
      sum += p;
      for (std::int64_t a = 0; a < value_dim; ++a) {
        y[index(a)] += p * kept(kept_v_, (t * groups + g) * value_dim + a);
      }
    }
    for (double& value : y) value /= sum;
    return y;
  }

  KvLayout layout;
  std::int64_t tokens;
  std::vector<float> q;

 private:
  static void fill_row(std::vector<float>& x, std::int64_t token, std::int64_t dim) {
    std::fill_n(x.begin() + token * groups * dim, groups * dim,
                std::numeric_limits<float>::infinity());
  }

  std::vector<float> k_, v_, kept_k_, kept_v_;
  std::vector<std::vector<std::byte>> pages_;
  std::vector<std::byte*> pointers_;
};

constexpr float scale = 0.25f;

void run(const KernelTable& table, int threads, std::int64_t window,
         const std::vector<NewTokens>& sequences, PackedType type = PackedType::bf16) {
  Executor executor(threads);
  Arena arena;
  attend({table, executor, arena},
         {{groups, key_dim, value_dim, type},
          heads,
          window,
          scale,
          heads * key_dim,
          groups * key_dim,
          groups * value_dim,
          heads * value_dim},
         sequences);
}

/// Puts the first `count` tokens into the pages, `at_once` of them at a time.
void fill(const KernelTable& table, const Sequence& s, std::int64_t count, std::int64_t at_once) {
  std::vector<float> y;
  for (std::int64_t t = 0; t < count; t += at_once) {
    run(table, 1, 1, {s.part(t, std::min(at_once, count - t), y)}, s.layout.type);
  }
}

double distance(const Sequence& s, const std::vector<float>& y, std::int64_t past,
                std::int64_t window) {
  double off = 0, all = 0;
  for (std::int64_t row = 0; row < std::ssize(y) / value_dim; ++row) {
    const std::vector<double> expected = s.expected(past + row / heads, row % heads, window, scale);
    for (std::int64_t a = 0; a < value_dim; ++a) {
      off += std::pow(y[index(row * value_dim + a)] - expected[index(a)], 2);
      all += std::pow(expected[index(a)], 2);
    }
  }
  return std::sqrt(off / all);
}

TEST(Attention, IsSoftmaxOverWhatATokenSees) {
  for_each_table([](const KernelTable& table) {
    for (const std::int64_t tokens : {1, 2, 63, 64, 65, 200}) {
      for (const PackedType type : types) {
        const Sequence s(tokens, 1, type);
        for (const std::int64_t window : {0, 1, 70}) {
          std::vector<float> y;
          run(table, 2, window, {s.part(0, tokens, y)}, type);
          // The difference is the rounding to bf16 and int8 of queries and probabilities.
          const double tolerance = type == PackedType::f32    ? 1e-6
                                   : type == PackedType::bf16 ? 5e-3
                                                              : 1e-2;
          EXPECT_LT(distance(s, y, 0, window), tolerance) << tokens << " " << window;
        }
      }
    }
  });
}

TEST(Attention, SeveralSequencesWithAPast) {
  for (const PackedType type : {PackedType::bf16, PackedType::int8}) {
    const Sequence a(1, 2, type), b(2700, 3, type), c(1025, 4, type);
    const double tolerance = type == PackedType::bf16 ? 5e-3 : 1.5e-2;
    for_each_table([&](const KernelTable& table) {
      fill(table, b, 2699, 1000);
      fill(table, c, 1020, 1020);
      for (const std::int64_t window : {0, 1500}) {
        std::vector<float> ya, yb, yc;
        run(table, 3, window, {a.part(0, 1, ya), b.part(2699, 1, yb), c.part(1020, 5, yc)}, type);
        EXPECT_LT(distance(a, ya, 0, window), tolerance);
        EXPECT_LT(distance(b, yb, 2699, window), tolerance);
        EXPECT_LT(distance(c, yc, 1020, window), tolerance);
      }
    });
  }
}

TEST(Attention, BitsDependNeitherOnThreadsNorOnOtherQueries) {
  for (const PackedType type : types) {
    const Sequence s(2100, 5, type), other(10, 6, type);
    for_each_table([&](const KernelTable& table) {
      if (table.isa == std::string("ref")) return;  // the same code, very slowly
      for (const std::int64_t window : {0, 1100}) {
        std::vector<float> all, again, one, beside;
        run(table, 1, window, {s.part(0, 2100, all)}, type);
        run(table, 3, window, {s.part(0, 2100, again)}, type);
        EXPECT_EQ(all, again);
        for (const std::int64_t t : {0, 64, 511, 512, 1023, 1024, 2099}) {
          run(table, 2, window, {s.part(t, 1, one), other.part(0, 3, beside)}, type);
          EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + t * heads * value_dim)) << t;
        }
      }
      const Sequence stepwise(300, 5, type), at_once(300, 5, type);
      fill(table, stepwise, 300, 1);
      fill(table, at_once, 300, 300);
      EXPECT_EQ(at_once.pages(), stepwise.pages());
    });
  }
}

TEST(Attention, LargeScoresAndWhatIsNotFinite) {
  for_each_table([](const KernelTable& table) {
    for (const PackedType type : types) {
      Sequence s(70, 6, type);
      for (std::int64_t i = 0; i < heads * key_dim; ++i) {
        s.q[index(69 * heads * key_dim + i)] *= 1e4f;
      }
      s.q[index(10 * heads * key_dim)] = std::numeric_limits<float>::quiet_NaN();
      std::vector<float> y;
      run(table, 2, 0, {s.part(0, 70, y)}, type);
      for (std::int64_t row = 0; row < 70 * heads; ++row) {
        const bool finite = std::isfinite(y[index(row * value_dim)]);
        EXPECT_EQ(finite, row != 10 * heads) << row;  // the first head of token 10
      }
    }
  });
}

TEST(Attention, NoTokenSeesALaterOneThatIsNotFinite) {
  for_each_table([](const KernelTable& table) {
    for (const auto& broken : {&Sequence::break_key, &Sequence::break_value}) {
      Sequence s(70, 7, PackedType::int8);
      (s.*broken)(40);
      std::vector<float> y;
      run(table, 2, 0, {s.part(0, 70, y)}, PackedType::int8);
      for (std::int64_t row = 0; row < 70 * heads; ++row) {
        EXPECT_EQ(std::isfinite(y[index(row * value_dim)]), row < 40 * heads) << row;
      }
    }
  });
}

}  // namespace
}  // namespace moebius::kernels

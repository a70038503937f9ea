// Backward passes through packed weights, for every table that this processor has: the bits are
// those of the same products with plain matrices that hold the dequantised weights, for odd sizes,
// all types and groups.
#include <gtest/gtest.h>

#include <vector>

#include "base/dtype.h"
#include "kernels/grouped_ffn.h"
#include "kernels/linear.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

constexpr PackedType types[] = {PackedType::f32, PackedType::bf16, PackedType::int8,
                                PackedType::int4};

PackedType gradient_type_of(PackedType type) {
  return type == PackedType::bf16 ? PackedType::bf16 : PackedType::f32;
}
ValueType stored(PackedType type) {
  return type == PackedType::bf16 ? ValueType::bf16 : ValueType::f32;
}

/// A packed matrix, and what `unpack` says it holds, as a plain one.
struct Weights {
  PackedShape shape;
  std::vector<std::byte> panels;
  std::vector<float> values;
  Stored plain;

  Weights(const PackedShape& s, std::uint64_t store_non_temporal, PackedType compute)
      : shape(s),
        panels(index(s.bytes())),
        values(normal(s.n * s.k, store_non_temporal)),
        plain(stored(compute), unpacked()) {}
  Matrix packed() const { return {shape, panels.data()}; }
  Matrix unpacked_matrix() const {
    const PackedType type = plain.type == ValueType::bf16 ? PackedType::bf16 : PackedType::f32;
    return {.shape = {type, shape.n, shape.k}, .plain = {plain.bytes.data(), plain.type, shape.k}};
  }

 private:
  const std::vector<float>& unpacked() {
    pack(shape, values.data(), shape.k, 0, shape.panels(), panels.data());
    for (std::int64_t i = 0; i < std::ssize(values); ++i) {
      values[index(i)] = unpack(shape, panels.data(), i / shape.k, i % shape.k);
    }
    return values;
  }
};

void check_panels(const KernelTable& table, const PackedShape& s, PackedType type) {
  const Weights w(s, 1, type);
  const PackedShape out{type, s.k, s.n};
  std::vector<std::byte> expected(index(out.bytes()), std::byte{1});
  table.pack_lanes({w.plain.bytes.data(), w.plain.type, s.k, nullptr, true, s.k, s.n, s.k,
                    panel_width, out.panels(), type, expected.data()});
  for (const std::int64_t begin : {std::int64_t{0}, out.panels() / 2}) {
    std::vector<std::byte> got(index((out.panels() - begin) * out.panel_bytes()), std::byte{2});
    table.transpose_panels({s, w.panels.data(), begin, out.panels(), type, got.data()});
    const auto from = expected.begin() + begin * out.panel_bytes();
    ASSERT_TRUE(std::equal(got.begin(), got.end(), from))
        << "type " << static_cast<int>(s.type) << " n " << s.n << " k " << s.k << " group "
        << s.group;
  }
}

TEST(PackTransposedKernel, HoldsTheDequantisedWeights) {
  for_each_table([](const KernelTable& table) {
    for (const PackedType type : types) {
      for (const std::int64_t n : {1, 2, 15, 16, 37, 64}) {
        for (const std::int64_t k : {1, 7, 16, 33, 71, 128}) {
          for (const std::int64_t group : {8, 32, 64}) {
            if (group != 32 && type != PackedType::int8 && type != PackedType::int4) continue;
            check_panels(table, {type, n, k, group}, PackedType::f32);
            if (type == PackedType::bf16) check_panels(table, {type, n, k}, type);
          }
        }
      }
    }
  });
}

TEST(PackedLinearBackward, IsTheProductWithTheDequantisedWeights) {
  for_each_table([](const KernelTable& table) {
    Executor executor(2);
    Arena arena;
    for (const PackedType type : types) {
      for (const auto& size : {std::pair{5, 9}, {70, 45}, {33, 200}, {300, 17}}) {
        const std::int64_t n = size.first, k = size.second;
        const PackedType compute = gradient_type_of(type);
        const Weights w({type, n, k}, 1, compute);
        for (const std::int64_t m : {1, 3, 30}) {
          const Stored dy(stored(compute), normal(m * n, 2));
          const auto product = [&](const Matrix& matrix) {
            std::vector<float> dx(index(m * k), -7.5f);
            const Product p{.w = transposed(matrix, compute), .y = dx.data(), .ldy = k};
            linear({table, executor, arena}, {dy.bytes.data(), dy.type, n}, m, {&p, 1});
            return dx;
          };
          const std::vector<float> got = product(w.packed());
          EXPECT_EQ(got, product(w.unpacked_matrix()));
          Values expected(index(m * k));
          const Values d = dy.values();
          for (std::int64_t i = 0; i < m * n * k; ++i) {
            const std::int64_t r = i / (n * k), c = i / k % n;
            expected[index(r * k + i % k)] += d[index(r * n + c)] * w.values[index(c * k + i % k)];
          }
          EXPECT_LT(distance(got, expected), 1e-5);
        }
      }
    }
  });
}

/// Tokens of two experts; all of the third has none.
struct Experts {
  static constexpr std::int64_t tokens = 21, d = 37, f = 70;
  std::vector<std::int32_t> rows;
  std::vector<float> scales = normal(2 * tokens, 9);
  std::vector<float> gate_bias = normal(f, 10), down_bias = normal(d, 11);
  std::vector<Weights> gate, up, down;
  PackedType compute;

  Experts(PackedType in, PackedType out)
      : compute(in == PackedType::bf16 && out == in ? in : PackedType::f32) {
    for (std::int32_t n = 0; n < 2 * tokens; ++n) rows.push_back(n % tokens);
    for (std::uint64_t e = 0; e < 3; ++e) {
      gate.emplace_back(PackedShape{in, f, d}, 10 * e + 1, compute);
      up.emplace_back(PackedShape{in, f, d}, 10 * e + 2, compute);
      down.emplace_back(PackedShape{out, d, f}, 10 * e + 3, compute);
    }
  }
  std::vector<FfnJob> jobs(bool packed) const {
    const auto matrix = [&](const Weights& w) { return packed ? w.packed() : w.unpacked_matrix(); };
    std::vector<FfnJob> out;
    for (std::size_t e = 0; e < 3; ++e) {
      const std::int64_t begin = e < 2 ? static_cast<std::int64_t>(e) * tokens : 2 * tokens;
      out.push_back({matrix(gate[e]), matrix(up[e]), matrix(down[e]), gate_bias.data(), nullptr,
                     down_bias.data(), begin, e < 2 ? begin + tokens : begin});
    }
    return out;
  }
};

struct Kept {
  Stored gate, up;
};

/// dx, and behind it the gradients of scales.
std::vector<float> backward(const KernelTable& table, const Experts& w, const Kept& kept,
                            const Stored& x, const Stored& dy, bool packed, int threads) {
  Executor executor(threads);
  Arena arena;
  const std::vector<FfnJob> jobs = w.jobs(packed);
  const std::vector<FfnGradients> none(jobs.size());
  std::vector<float> out(index(Experts::tokens * Experts::d + 2 * Experts::tokens));
  grouped_ffn_backward({table, executor, arena},
                       {.jobs = jobs,
                        .gradients = none,
                        .rows = w.rows.data(),
                        .scales = w.scales.data(),
                        .x = x.bytes.data(),
                        .dy = dy.bytes.data(),
                        .gate_x = kept.gate.bytes.data(),
                        .up_x = kept.up.bytes.data(),
                        .dx = out.data(),
                        .dscales = out.data() + Experts::tokens * Experts::d});
  return out;
}

TEST(PackedGroupedFfnBackward, IsThatOfTheDequantisedWeights) {
  for_each_table([](const KernelTable& table) {
    for (const auto& [in, out] : {std::pair{PackedType::f32, PackedType::f32},
                                  {PackedType::bf16, PackedType::bf16},
                                  {PackedType::int8, PackedType::int8},
                                  {PackedType::int4, PackedType::int8},
                                  {PackedType::bf16, PackedType::int4}}) {
      const Experts w(in, out);
      const Stored x(stored(w.compute), normal(Experts::tokens * Experts::d, 5));
      const Stored dy(stored(w.compute), normal(Experts::tokens * Experts::d, 6));
      const Stored x_f32(ValueType::f32, x.values());
      Kept kept{{stored(w.compute), 2 * Experts::tokens * Experts::f},
                {stored(w.compute), 2 * Experts::tokens * Experts::f}};
      std::vector<float> y(index(Experts::tokens * Experts::d));
      Executor executor(2);
      Arena arena;
      const std::vector<FfnJob> jobs = w.jobs(true);
      grouped_ffn({table, executor, arena}, {.jobs = jobs,
                                             .rows = w.rows.data(),
                                             .scales = w.scales.data(),
                                             .x = x_f32.bytes.data(),
                                             .y = y.data(),
                                             .tokens = Experts::tokens,
                                             .ldx = Experts::d,
                                             .ldy = Experts::d,
                                             .gate_x = kept.gate.bytes.data(),
                                             .up_x = kept.up.bytes.data()});
      EXPECT_EQ(backward(table, w, kept, x, dy, true, 2),
                backward(table, w, kept, x, dy, false, 2));
      EXPECT_EQ(backward(table, w, kept, x, dy, true, 1), backward(table, w, kept, x, dy, true, 3));
    }
  });
}

}  // namespace
}  // namespace moebius::kernels

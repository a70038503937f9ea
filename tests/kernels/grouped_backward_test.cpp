// The backward pass of grouped FFNs, for every table that this processor has, against a reference
// in double precision, which itself is checked by central differences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "base/dtype.h"
#include "kernels/grouped_ffn.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

using Values = std::vector<double>;

double slope(Activation kind, double x) {
  constexpr double step = 1e-5;
  return kind == Activation::relu ? (x > 0 ? 1.0 : 0.0)
                                  : (act(kind, x + step) - act(kind, x - step)) / (2 * step);
}

/// T tokens, each of which goes to two of E experts, of which the last has none.
struct Problem {
  static constexpr std::int64_t tokens = 41, d = 37, f = 45, experts = 4, rows = 2 * tokens;
  Activation kind = Activation::silu;
  bool gated = true, biased = true;
  Values x, dy, scales, gate, up, down, gate_bias, up_bias, down_bias;
  std::vector<std::int32_t> ids;
  std::vector<std::int64_t> offsets{0};

  Problem(Activation of, bool with_gate, bool with_bias, bool bf16)
      : kind(of), gated(with_gate), biased(with_bias) {
    const auto values = [&](std::int64_t count, std::uint64_t store_non_temporal,
                            double deviation) {
      const std::vector<float> v = normal(count, store_non_temporal, deviation);
      Values out;
      for (const float each : v) out.push_back(bf16 ? bf16_to_f32(f32_to_bf16(each)) : each);
      return out;
    };
    x = values(tokens * d, 1, 1);
    dy = values(tokens * d, 2, 1);
    if (gated) gate = values(experts * f * d, 4, 0.3);
    up = values(experts * f * d, 5, 0.3);
    down = values(experts * d * f, 6, 0.3);
    if (biased) {
      if (gated) gate_bias = values(experts * f, 7, 0.5);
      up_bias = values(experts * f, 8, 0.5);
      down_bias = values(experts * d, 9, 0.5);
    }
    for (std::int64_t e = 0; e < experts; ++e) {
      for (std::int64_t t = 0; t < tokens; ++t) {
        if (t % 3 == e || (t + 1) % 3 == e) ids.push_back(static_cast<std::int32_t>(t));
      }
      offsets.push_back(std::ssize(ids));
    }
    for (std::int64_t n = 0; n < rows; ++n) scales.push_back(0.3f + 0.01f * float(n % 17));
  }

  static double at(const Values& v, std::int64_t i) { return v.empty() ? 0.0 : v[index(i)]; }

  /// Calls fn(expert, row) for every sorted row.
  template <class Fn>
  void for_each_row(Fn fn) const {
    for (std::int64_t e = 0; e < experts; ++e) {
      for (std::int64_t n = offsets[index(e)]; n < offsets[index(e + 1)]; ++n) fn(e, n);
    }
  }

  /// gate x (or nothing) and up x of a row.
  void before(std::int64_t e, std::int64_t n, std::int64_t i, double& g, double& u) const {
    const std::int64_t t = ids[index(n)];
    g = at(gate_bias, e * f + i);
    u = at(up_bias, e * f + i);
    for (std::int64_t c = 0; c < d; ++c) {
      if (gated) g += gate[index((e * f + i) * d + c)] * x[index(t * d + c)];
      u += up[index((e * f + i) * d + c)] * x[index(t * d + c)];
    }
  }

  /// dy times the result.
  double loss() const {
    double sum = 0;
    for_each_row([&](std::int64_t e, std::int64_t n) {
      const std::int64_t t = ids[index(n)];
      Values h(index(f));
      for (std::int64_t i = 0; i < f; ++i) {
        double g = 0, u = 0;
        before(e, n, i, g, u);
        h[index(i)] = gated ? act(kind, g) * u : act(kind, u);
      }
      for (std::int64_t c = 0; c < d; ++c) {
        double y = at(down_bias, e * d + c);
        for (std::int64_t i = 0; i < f; ++i) y += down[index((e * d + c) * f + i)] * h[index(i)];
        sum += scales[index(n)] * y * dy[index(t * d + c)];
      }
    });
    return sum;
  }
};

struct Gradients {
  Values x = Values(index(Problem::tokens * Problem::d)), scales = Values(index(Problem::rows));
  Values gate, up, down, gate_bias, up_bias, down_bias;

  explicit Gradients(const Problem& p)
      : gate(p.gate.size()),
        up(p.up.size()),
        down(p.down.size()),
        gate_bias(p.gate_bias.size()),
        up_bias(p.up_bias.size()),
        down_bias(p.down_bias.size()) {}
};

/// The reference.
Gradients gradients(const Problem& p) {
  Gradients out(p);
  constexpr std::int64_t d = Problem::d, f = Problem::f;
  p.for_each_row([&](std::int64_t e, std::int64_t n) {
    const std::int64_t t = p.ids[index(n)];
    const double s = p.scales[index(n)];
    const auto dy = [&](std::int64_t c) { return p.dy[index(t * d + c)]; };
    for (std::int64_t i = 0; i < f; ++i) {
      double g = 0, u = 0, dh = 0;
      p.before(e, n, i, g, u);
      const double h = p.gated ? act(p.kind, g) * u : act(p.kind, u);
      for (std::int64_t c = 0; c < d; ++c) {
        const std::size_t at = index((e * d + c) * f + i);
        dh += dy(c) * p.down[at];
        out.down[at] += s * dy(c) * h;
      }
      out.scales[index(n)] += dh * h;
      const double du = s * dh * (p.gated ? act(p.kind, g) : slope(p.kind, u));
      const double dg = p.gated ? s * dh * u * slope(p.kind, g) : 0;
      for (std::int64_t c = 0; c < d; ++c) {
        const std::size_t at = index((e * f + i) * d + c), of_x = index(t * d + c);
        out.up[at] += du * p.x[of_x];
        out.x[of_x] += du * p.up[at];
        if (!p.gated) continue;
        out.gate[at] += dg * p.x[of_x];
        out.x[of_x] += dg * p.gate[at];
      }
      if (!p.biased) continue;
      out.up_bias[index(e * f + i)] += du;
      if (p.gated) out.gate_bias[index(e * f + i)] += dg;
    }
    for (std::int64_t c = 0; p.biased && c < d; ++c) {
      out.down_bias[index(e * d + c)] += s * dy(c);
      out.scales[index(n)] += dy(c) * p.down_bias[index(e * d + c)];
    }
  });
  return out;
}

TEST(GroupedFfnReference, AgreesWithCentralDifferences) {
  for (const Activation kind : {Activation::silu, Activation::gelu_tanh, Activation::gelu_erf}) {
    for (const bool gated : {true, false}) {
      Problem p(kind, gated, true, false);
      const Gradients g = gradients(p);
      const auto check = [&](Values& values, const Values& expected, const char* name) {
        for (std::size_t i = 0; i < values.size(); i += 1 + values.size() / 5) {
          constexpr double step = 1e-4;
          const double middle = values[i];
          values[i] = middle + step;
          const double above = p.loss();
          values[i] = middle - step;
          const double below = p.loss();
          values[i] = middle;
          EXPECT_NEAR((above - below) / (2 * step), expected[i], 1e-6) << name << " " << i;
        }
      };
      check(p.x, g.x, "x");
      check(p.scales, g.scales, "scales");
      check(p.gate, g.gate, "gate");
      check(p.up, g.up, "up");
      check(p.down, g.down, "down");
      check(p.gate_bias, g.gate_bias, "gate bias");
      check(p.up_bias, g.up_bias, "up bias");
      check(p.down_bias, g.down_bias, "down bias");
    }
  }
}

/// Values as the kernels take them.
class Buffer {
 public:
  Buffer(PackedType type, std::size_t count)
      : bf16_(type == PackedType::bf16), bytes_(count * (bf16_ ? 2 : 4)) {}
  Buffer(PackedType type, const Values& from) : Buffer(type, from.size()) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      const auto value = static_cast<float>(from[i]);
      if (bf16_) {
        reinterpret_cast<std::uint16_t*>(bytes_.data())[i] = f32_to_bf16(value);
      } else {
        reinterpret_cast<float*>(bytes_.data())[i] = value;
      }
    }
  }
  bool empty() const { return bytes_.empty(); }
  /// From value i on; null without values.
  std::byte* at(std::int64_t i) { return empty() ? nullptr : bytes_.data() + i * (bf16_ ? 2 : 4); }
  Values values() const {
    Values out(bytes_.size() / (bf16_ ? 2 : 4));
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = bf16_ ? bf16_to_f32(reinterpret_cast<const std::uint16_t*>(bytes_.data())[i])
                     : reinterpret_cast<const float*>(bytes_.data())[i];
    }
    return out;
  }

 private:
  bool bf16_;
  std::vector<std::byte> bytes_;
};

/// What the kernels make of a problem: forward, then back.
Gradients run(const KernelTable& table, PackedType type, int threads, const Problem& p) {
  constexpr std::int64_t d = Problem::d, f = Problem::f;
  Buffer x(type, p.x), dy(type, p.dy), gate(type, p.gate), up(type, p.up), down(type, p.down);
  Buffer x32(PackedType::f32, p.x), scales(PackedType::f32, p.scales);
  Buffer gate_bias(PackedType::f32, p.gate_bias), up_bias(PackedType::f32, p.up_bias);
  Buffer down_bias(PackedType::f32, p.down_bias);
  Buffer dgate(type, p.gate.size()), dup(type, p.up.size()), ddown(type, p.down.size());
  Buffer dgate_bias(PackedType::f32, p.gate_bias.size());
  Buffer dup_bias(PackedType::f32, p.up_bias.size());
  Buffer ddown_bias(PackedType::f32, p.down_bias.size());
  Buffer dx(PackedType::f32, p.x.size()), dscales(PackedType::f32, p.scales.size());
  Buffer y(PackedType::f32, p.x.size());
  Buffer gate_x(type, p.gated ? index(Problem::rows * f) : 0), up_x(type, index(Problem::rows * f));
  const auto floats = [](Buffer& b, std::int64_t i) { return reinterpret_cast<float*>(b.at(i)); };
  std::vector<FfnJob> jobs;
  std::vector<FfnGradients> to;
  const ValueType stored = type == PackedType::bf16 ? ValueType::bf16 : ValueType::f32;
  for (std::int64_t e = 0; e < Problem::experts; ++e) {
    const auto matrix = [&](Buffer& b, std::int64_t n, std::int64_t k) {
      return Matrix{.shape = {type, n, k}, .plain = {b.at(e * n * k), stored, k}};
    };
    jobs.push_back({p.gated ? matrix(gate, f, d) : Matrix{}, matrix(up, f, d), matrix(down, d, f),
                    floats(gate_bias, e * f), floats(up_bias, e * f), floats(down_bias, e * d),
                    p.offsets[index(e)], p.offsets[index(e + 1)]});
    to.push_back({dgate.at(e * f * d), dup.at(e * f * d), ddown.at(e * d * f),
                  floats(dgate_bias, e * f), floats(dup_bias, e * f), floats(ddown_bias, e * d)});
  }
  Executor executor(threads);
  Arena arena;
  grouped_ffn({table, executor, arena}, {.jobs = jobs,
                                         .rows = p.ids.data(),
                                         .scales = floats(scales, 0),
                                         .x = floats(x32, 0),
                                         .y = floats(y, 0),
                                         .tokens = Problem::tokens,
                                         .ldx = d,
                                         .ldy = d,
                                         .activation = p.kind,
                                         .gate_x = gate_x.at(0),
                                         .up_x = up_x.at(0)});
  grouped_ffn_backward({table, executor, arena}, {.jobs = jobs,
                                                  .gradients = to,
                                                  .rows = p.ids.data(),
                                                  .scales = floats(scales, 0),
                                                  .x = x.at(0),
                                                  .dy = dy.at(0),
                                                  .gate_x = gate_x.at(0),
                                                  .up_x = up_x.at(0),
                                                  .activation = p.kind,
                                                  .dx = floats(dx, 0),
                                                  .dscales = floats(dscales, 0)});
  Gradients out(p);
  out.x = dx.values();
  out.scales = dscales.values();
  out.gate = dgate.values();
  out.up = dup.values();
  out.down = ddown.values();
  out.gate_bias = dgate_bias.values();
  out.up_bias = dup_bias.values();
  out.down_bias = ddown_bias.values();
  return out;
}

/// Calls fn(name, leaf) for each leaf.
template <class Fn>
void for_each_leaf(Fn fn) {
  fn("x", &Gradients::x);
  fn("scales", &Gradients::scales);
  fn("gate", &Gradients::gate);
  fn("up", &Gradients::up);
  fn("down", &Gradients::down);
  fn("gate bias", &Gradients::gate_bias);
  fn("up bias", &Gradients::up_bias);
  fn("down bias", &Gradients::down_bias);
}

TEST(GroupedFfnBackward, IsWhatTheReferenceSays) {
  for (const PackedType type : {PackedType::f32, PackedType::bf16}) {
    const double tolerance = type == PackedType::f32 ? 1e-5 : 1e-2;
    for (const Activation kind :
         {Activation::silu, Activation::gelu_tanh, Activation::gelu_erf, Activation::relu}) {
      for (const bool gated : {true, false}) {
        for (const bool biased : {true, false}) {
          const Problem p(kind, gated, biased, type == PackedType::bf16);
          const Gradients expected = gradients(p);
          for_each_table([&](const KernelTable& table) {
            const Gradients got = run(table, type, 2, p);
            for_each_leaf([&](const char* name, Values Gradients::*leaf) {
              if ((expected.*leaf).empty()) return;
              EXPECT_LT(distance(got.*leaf, expected.*leaf), tolerance)
                  << name << " " << static_cast<int>(kind) << gated << biased;
            });
          });
        }
      }
    }
  }
}

TEST(GroupedFfnBackward, BitsDoNotDependOnThreads) {
  for (const PackedType type : {PackedType::f32, PackedType::bf16}) {
    const Problem p(Activation::silu, true, true, type == PackedType::bf16);
    for_each_table([&](const KernelTable& table) {
      const Gradients alone = run(table, type, 1, p), together = run(table, type, 3, p);
      for_each_leaf([&](const char* name, Values Gradients::*leaf) {
        EXPECT_EQ(alone.*leaf, together.*leaf) << name;
      });
    });
  }
}

}  // namespace
}  // namespace moebius::kernels

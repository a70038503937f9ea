// Scalar kernels: the reference of all tests, and the fallback for other processors.
#include <cmath>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/cpu/tables.h"

namespace moebius::kernels::ref {
namespace {

float value_at(const void* from, ValueType type, std::int64_t index) {
  switch (type) {
    case ValueType::bf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(from)[index]);
    case ValueType::f16:
      return f16_to_f32(static_cast<const std::uint16_t*>(from)[index]);
    case ValueType::f32:
      break;
  }
  return static_cast<const float*>(from)[index];
}

void store_value(void* to, ValueType type, std::int64_t index, float value) {
  if (type == ValueType::bf16) {
    static_cast<std::uint16_t*>(to)[index] = f32_to_bf16(value);
  } else {
    static_cast<float*>(to)[index] = value;
  }
}

void pack_lanes(const PackLanes& a) {
  const std::int64_t step = step_of(a.type), steps = (a.k + step - 1) / step;
  const ValueType type = a.type == PackedType::bf16 ? ValueType::bf16 : ValueType::f32;
  for (std::int64_t lane = 0; lane < a.blocks * a.width; ++lane) {
    for (std::int64_t k = 0; k < steps * step; ++k) {
      float value = 0;
      if (k < a.k && lane < a.lanes) {
        const std::int64_t row = a.transposed ? k : lane, column = a.transposed ? lane : k;
        value = value_at(a.from, a.stored, (a.ids != nullptr ? a.ids[row] : row) * a.ld + column);
      }
      const std::int64_t at = (lane / a.width * steps + k / step) * a.width + lane % a.width;
      store_value(a.out, type, at * step + k % step, value);
    }
  }
}

void prepare_group(const float* x, std::int64_t k, std::int8_t* out, float& scale) {
  float max = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < k; ++i) {
    finite = finite && std::isfinite(x[i]);
    max = std::max(max, std::fabs(x[i]));
  }
  scale = finite ? max / 127 : std::numeric_limits<float>::quiet_NaN();
  const float inverse = finite && max >= 1e-30f ? 127 / max : 0;
  for (std::int64_t i = 0; i < k; ++i) {
    constexpr float to_integer = 0x1.8p23f;
    out[i] =
        static_cast<std::int8_t>(std::fma(finite ? x[i] : 0, inverse, to_integer) - to_integer);
  }
}

void prepare(const PackedShape& s, const float* x, std::int64_t ldx, std::int64_t m,
             const Prepared& out) {
  const std::int64_t padded = s.padded_k();
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t k = 0; k < padded; ++k) {
      const float xk = k < s.k ? x[r * ldx + k] : 0;
      const std::int64_t at = r * padded + k;
      if (s.type == PackedType::f32) static_cast<float*>(out.x)[at] = xk;
      if (s.type == PackedType::bf16) static_cast<std::uint16_t*>(out.x)[at] = f32_to_bf16(xk);
      if (s.quantised()) static_cast<std::int8_t*>(out.x)[at] = 0;
    }
    std::int8_t* codes = static_cast<std::int8_t*>(out.x) + r * padded;
    for (std::int64_t g = 0; g < s.x_groups(); ++g) {
      const std::int64_t k = g * s.x_group();
      prepare_group(x + r * ldx + k, std::min(s.x_group(), s.k - k), codes + k,
                    out.scales[r * s.x_groups() + g]);
    }
    for (std::int64_t g = 0; g < s.groups(); ++g) {
      std::int32_t& sum = out.sums[r * s.groups() + g];
      sum = 0;
      for (std::int64_t k = g * s.group; k < std::min((g + 1) * s.group, s.k); ++k) sum += codes[k];
    }
  }
}

template <class T>
void interleave_words(const PackedShape& s, const Prepared& from, const std::int32_t* ids,
                      const TileRows& out) {
  const std::int64_t step = step_of(s.type), padded = s.padded_k();
  for (int i = 0; i < out.m; ++i) {
    const T* row = static_cast<const T*>(from.x) + (ids != nullptr ? ids[i] : i) * padded;
    for (std::int64_t k = 0; k < padded; ++k) {
      static_cast<T*>(out.x)[(k / step * out.m + i) * step + k % step] = row[k];
    }
  }
}

void interleave(const PackedShape& s, const Prepared& from, const std::int32_t* ids,
                const TileRows& out) {
  if (s.type == PackedType::f32) return interleave_words<float>(s, from, ids, out);
  if (s.type == PackedType::bf16) return interleave_words<std::uint16_t>(s, from, ids, out);
  interleave_words<std::int8_t>(s, from, ids, out);
  for (int i = 0; i < out.m; ++i) {
    const std::int64_t row = ids != nullptr ? ids[i] : i;
    for (std::int64_t g = 0; g < s.x_groups(); ++g) {
      out.scales[g * out.m + i] = from.scales[row * s.x_groups() + g];
    }
    for (std::int64_t g = 0; g < s.groups(); ++g) {
      const std::int32_t sum = from.sums[row * s.groups() + g];
      out.offsets[g * out.m + i] = sum * (s.type == PackedType::int8 ? -128 : -8);
    }
  }
}

/// An activation as stored for weights of `type`; of int8 without its scale.
float activation_at(PackedType type, const void* x, std::int64_t at) {
  if (type == PackedType::f32) return static_cast<const float*>(x)[at];
  if (type == PackedType::bf16) return bf16_to_f32(static_cast<const std::uint16_t*>(x)[at]);
  return static_cast<float>(static_cast<const std::int8_t*>(x)[at]);
}

/// Element [i, k] of interleaved rows.
float row_at(const PackedShape& s, const TileRows& rows, int i, std::int64_t k) {
  const std::int64_t step = step_of(s.type), at = (k / step * rows.m + i) * step + k % step;
  const float x = activation_at(s.type, rows.x, at);
  return s.quantised() ? x * rows.scales[k / s.x_group() * rows.m + i] : x;
}

void transpose_panels(const TransposePanels& a) {
  const PackedShape out{a.type, (a.end - a.begin) * panel_width, a.shape.n};
  const std::int64_t step = step_of(a.type), padded = out.padded_k();
  const ValueType type = a.type == PackedType::bf16 ? ValueType::bf16 : ValueType::f32;
  for (std::int64_t lane = 0; lane < out.n; ++lane) {
    const std::int64_t k = a.begin * panel_width + lane;
    for (std::int64_t n = 0; n < padded; ++n) {
      const float value = k < a.shape.k && n < a.shape.n ? unpack(a.shape, a.w, n, k) : 0;
      const std::int64_t at = (lane / panel_width * padded + n / step * step) * panel_width +
                              lane % panel_width * step + n % step;
      store_value(a.out, type, at, value);
    }
  }
}

void store_sum(const TileOutput& out, int row, std::int64_t column, float sum) {
  const std::int64_t at = (out.ids != nullptr ? out.ids[row] : row) * out.ldy + column;
  float value = sum * (out.scales != nullptr ? out.scales[row] : 1);
  if (out.add) {
    value += value_at(out.y, out.type, at) * (out.keep != nullptr ? out.keep[row] : 1);
  }
  store_value(out.y, out.type, at, value);
}

void tile(const PackedShape& s, const Tile& t) {
  for (int i = 0; i < t.rows.m; ++i) {
    for (int column = 0; column < 2 * panel_width; ++column) {
      const int panel = column / panel_width;
      float sum = 0;
      for (std::int64_t k = 0; k < s.k; ++k) {
        sum += row_at(s, t.rows, i, k) * unpack(s, t.w[panel], column % panel_width, k);
      }
      const std::int64_t c = column % panel_width;
      if (c >= t.out.columns[panel]) continue;
      if (t.out.bias[panel] != nullptr) sum += t.out.bias[panel][c];
      store_sum(t.out, i, column, sum);
    }
  }
}

/// An activation and its derivative.
struct Activated {
  float value, slope;
};

Activated activated(Activation kind, float x) {
  switch (kind) {
    case Activation::silu: {
      const float share = 1 / (1 + std::exp(-x));
      return {x * share, share * (1 + x * (1 - share))};
    }
    case Activation::gelu_tanh: {
      const float t = std::tanh(0.797884561f * (x + 0.044715f * x * x * x));
      const float inner = 0.797884561f * (1 + 0.134145f * x * x);
      return {0.5f * x * (1 + t), 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * inner};
    }
    case Activation::gelu_erf: {
      const float share = 0.5f * (1 + std::erf(x * 0.707106781f));
      return {x * share, share + x * std::exp(-0.5f * x * x) * 0.398942280f};
    }
    case Activation::relu:
      break;
  }
  return {x < 0 ? 0 : x, x > 0 ? 1.0f : 0.0f};
}

void activate(const Activate& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const float* x = a.x + r * a.ldx + c;
      a.h[r * a.ldh + c] = activated(a.kind, *x).value * (a.up != 0 ? x[a.up] : 1);
    }
  }
}

void activate_backward(const ActivateBackward& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const std::int64_t pre = r * a.ldpre + c, grad = r * a.ldgrad + c;
      const float dh = a.dh[r * a.lddh + c], scaled = dh * a.scales[r];
      const float up = value_at(a.up, a.type, pre);
      float h = 0;
      if (a.gate != nullptr) {
        const Activated g = activated(a.kind, value_at(a.gate, a.type, pre));
        h = g.value * up;
        store_value(a.dgate, a.type, grad, scaled * up * g.slope);
        store_value(a.dup, a.type, grad, scaled * g.value);
      } else {
        const Activated y = activated(a.kind, up);
        h = y.value;
        store_value(a.dup, a.type, grad, scaled * y.slope);
      }
      store_value(a.h, a.type, r * a.ldh + c, h * a.scales[r]);
      a.dots[r] += dh * h;
    }
  }
}

void add_rows(const AddRows& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t c = 0; c < a.columns; ++c) {
      a.y[a.ids[r] * a.ldy + c] += a.x[r * a.ldx + c] * (a.scales != nullptr ? a.scales[r] : 1);
    }
  }
}

void convert(const Convert& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t c = 0; c < a.columns; ++c) {
      store_value(a.y, a.type, r * a.ldy + c, a.x[r * a.ldx + c] * a.scale);
    }
  }
}

void softmax(const Softmax& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    float *scores = a.scores + r * a.ld, &max = a.max[r], &sum = a.sum[r];
    const float before = max;
    for (std::int64_t c = a.first[r]; c < a.last[r]; ++c) max = std::max(max, scores[c] * a.scale);
    const float keep = before == max ? 1 : std::exp(before - max);
    sum *= keep;
    if (a.keep != nullptr) a.keep[r] = keep;
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const bool seen = c >= a.first[r] && c < a.last[r];
      scores[c] = seen ? std::exp(scores[c] * a.scale - max) : 0;
      sum += scores[c];
    }
  }
}

void softmax_backward(const SoftmaxBackward& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    const float *scores = a.scores + r * a.ld, *dprobabilities = a.dprobabilities + r * a.ld;
    const auto probability = [&](std::int64_t c) {
      return c >= a.first[r] && c < a.last[r] ? std::exp(scores[c] * a.scale - a.log_sums[r]) : 0;
    };
    float mean = 0;
    for (std::int64_t c = a.first[r]; c < a.last[r]; ++c)
      mean += probability(c) * dprobabilities[c];
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const float p = probability(c);
      store_value(a.probabilities, a.type, r * a.ld + c, p);
      store_value(a.dscores, a.type, r * a.ld + c, p * (dprobabilities[c] - mean) * a.scale);
    }
  }
}

void merge_softmax(const MergeSoftmax& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    if (a.part_sum[r] == 0) continue;
    const float max = std::max(a.part_max[r], a.max[r]);
    const float old = std::exp(a.max[r] - max), fresh = std::exp(a.part_max[r] - max);
    for (std::int64_t c = 0; c < a.columns; ++c) {
      float& y = a.y[r * a.columns + c];
      y = y * old + a.part_y[r * a.columns + c] * fresh;
    }
    a.sum[r] = a.sum[r] * old + a.part_sum[r] * fresh;
    a.max[r] = max;
  }
}

/// Element [r, k] of rows as `prepare` writes them.
float prepared_at(const PackedShape& s, const Prepared& rows, std::int64_t r, std::int64_t k) {
  const float x = activation_at(s.type, rows.x, r * s.padded_k() + k);
  return s.quantised() ? x * rows.scales[r * s.x_groups() + k / s.x_group()] : x;
}

constexpr int FEW_QUERIES = 4;

/// As tiles compute it; over int8 probabilities stay f32.
void attend_page(const AttendPage& a) {
  const auto* values = static_cast<const std::byte*>(a.part) + a.keys.bytes();
  for (int r = 0; r < a.m; ++r) {
    float probabilities[page_tokens], keep;
    for (std::int64_t t = 0; t < page_tokens; ++t) {
      probabilities[t] = 0;
      for (std::int64_t k = 0; k < a.keys.k; ++k) {
        probabilities[t] += prepared_at(a.keys, a.q, r, k) * unpack(a.keys, a.part, t, k);
      }
    }
    softmax({probabilities, a.first + r, a.last + r, a.max + r, a.sum + r, 1, page_tokens,
             page_tokens, 1, &keep});
    for (std::int64_t t = 0; t < page_tokens; ++t) {
      if (a.values.type == PackedType::bf16)
        probabilities[t] = bf16_to_f32(f32_to_bf16(probabilities[t]));
      if (a.values.quantised() && probabilities[t] != 0)
        probabilities[t] *= bf16_to_f32(a.scales[t]);
    }
    for (std::int64_t c = 0; c < a.values.n; ++c) {
      float sum = 0;
      for (std::int64_t t = 0; t < page_tokens; ++t) {
        sum += probabilities[t] * unpack(a.values, values, c, t);
      }
      float& y = a.y[r * a.ldy + c];
      y = sum + y * keep;
    }
  }
}

/// A row is normalised as (x - mean) scale.
struct NormStatistics {
  double mean, scale;
};
NormStatistics norm_statistics(const void* x, ValueType type, std::int64_t begin,
                               std::int64_t columns, float eps, bool centred) {
  const auto count = static_cast<double>(columns);
  double sum = 0, squares = 0;
  for (std::int64_t c = 0; c < columns; ++c) sum += value_at(x, type, begin + c);
  const double mean = centred ? sum / count : 0;
  for (std::int64_t c = 0; c < columns; ++c) {
    squares += std::pow(value_at(x, type, begin + c) - mean, 2);
  }
  return {mean, 1 / std::sqrt(squares / count + eps)};
}

void norm(const Norm& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    const NormStatistics s = norm_statistics(a.x, a.type, r * a.ldx, a.columns, a.eps, a.centred);
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const double z = (value_at(a.x, a.type, r * a.ldx + c) - s.mean) * s.scale;
      store_value(a.y, a.type, r * a.ldy + c,
                  static_cast<float>(z * a.weight[c] + (a.bias != nullptr ? a.bias[c] : 0)));
    }
  }
}

void norm_backward(const NormBackward& a) {
  const auto count = static_cast<double>(a.columns);
  for (std::int64_t r = 0; r < a.m; ++r) {
    const std::int64_t begin = r * a.columns;
    const NormStatistics s = norm_statistics(a.x, a.type, begin, a.columns, a.eps, a.centred);
    const auto z = [&](std::int64_t c) {
      return (value_at(a.x, a.type, begin + c) - s.mean) * s.scale;
    };
    const auto dy = [&](std::int64_t c) { return value_at(a.dy, a.type, begin + c); };
    double mean_g = 0, mean_gz = 0;
    for (std::int64_t c = 0; c < a.columns; ++c) {
      if (a.centred) mean_g += dy(c) * a.weight[c] / count;
      mean_gz += dy(c) * a.weight[c] * z(c) / count;
      a.dweight[c] += static_cast<float>(dy(c) * z(c));
      if (a.dbias != nullptr) a.dbias[c] += dy(c);
    }
    for (std::int64_t c = 0; c < a.columns; ++c) {
      store_value(a.dx, a.type, begin + c,
                  static_cast<float>((dy(c) * a.weight[c] - mean_g - z(c) * mean_gz) * s.scale));
    }
  }
}

void rotate(const Rotate& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t h = 0; h < a.heads; ++h) {
      const std::int64_t x = r * a.ldx + h * a.dim, y = r * a.ldy + h * a.dim;
      const std::int64_t stays = a.dim - 2 * a.half;
      for (std::int64_t i = 0; i < stays; ++i) {
        store_value(a.y, a.type, y + i, value_at(a.x, a.type, x + i));
      }
      const auto place = [&](std::int64_t i, bool second, bool pairs) {
        return stays + (pairs ? 2 * i + (second ? 1 : 0) : i + (second ? a.half : 0));
      };
      for (std::int64_t i = 0; i < a.half; ++i) {
        const bool from = a.interleaved && !a.inverse, to = a.interleaved && a.inverse;
        const float u = value_at(a.x, a.type, x + place(i, false, from));
        const float v = value_at(a.x, a.type, x + place(i, true, from));
        const float cos = a.cos[r * a.half + i], sin = a.sin[r * a.half + i] * (a.inverse ? -1 : 1);
        store_value(a.y, a.type, y + place(i, false, to), u * cos - v * sin);
        store_value(a.y, a.type, y + place(i, true, to), v * cos + u * sin);
      }
    }
  }
}

void sum_exp(const SumExp& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    const auto score = [&](std::int64_t c) {
      return value_at(a.scores, a.type, r * a.ld + c) * a.scale;
    };
    a.max[r] = score(0);
    for (std::int64_t c = 1; c < a.columns; ++c) a.max[r] = std::max(a.max[r], score(c));
    double sum = 0;
    for (std::int64_t c = 0; c < a.columns; ++c) sum += std::exp(score(c) - a.max[r]);
    a.sum[r] = static_cast<float>(sum);
  }
}

void cross_entropy_backward(const CrossEntropyBackward& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const std::int64_t at = r * a.ld + c;
      const float share = std::exp(value_at(a.scores, a.type, at) * a.scale - a.log_sums[r]);
      store_value(a.dscores, a.type, at, (share - (c == a.targets[r] ? 1.0f : 0.0f)) * a.factor);
    }
  }
}

void adamw(const AdamWStep& a) {
  for (std::int64_t i = 0; i < a.count; ++i) {
    const float g = value_at(a.gradient, a.type, i) * a.scale;
    float w = a.master != nullptr ? a.master[i] : value_at(a.value, a.type, i);
    const float m = a.beta1 * value_at(a.m, a.means, i) + (1 - a.beta1) * g;
    const float v = a.beta2 * value_at(a.v, a.means, i) + (1 - a.beta2) * g * g;
    w -= a.rate * a.decay * w;
    w -= a.rate * (m / a.bias1) / (std::sqrt(v / a.bias2) + a.eps);
    store_value(a.m, a.means, i, m);
    store_value(a.v, a.means, i, v);
    store_value(a.value, a.type, i, w);
    if (a.master != nullptr) a.master[i] = w;
  }
}

double sum_of_squares(const void* values, ValueType type, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = value_at(values, type, i);
    sum += value * value;
  }
  return sum;
}

std::int64_t peak(PackedType, std::int64_t rounds) {
  constexpr int chains = 8;
  volatile float factor = 0.5f;
  const float x = factor;
  float sums[chains] = {};
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (float& sum : sums) sum = sum * x + x;
  }
  for (const float sum : sums) factor = sum;
  return rounds * chains * 2;
}

std::uint64_t read(const void* from, std::int64_t bytes) {
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i + 8 <= bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const std::byte*>(from) + i, 8);
    sum += word;
  }
  return sum;
}

constexpr int TILE_F32 = 4, TILE_BF16 = 4, TILE_INT8 = 4, TILE_INT4 = 4;

#include "kernels/cpu/table_entries.h"

}  // namespace

const KernelTable table = table_named("ref");

}  // namespace moebius::kernels::ref

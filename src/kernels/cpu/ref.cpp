// The scalar kernels: what runs where nothing better does, and says how it is meant.
#include <cmath>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/cpu/tables.h"

namespace moebius::kernels::ref {
namespace {

float weight_at(const RowsGemm& a, std::int64_t index) {
  switch (a.type) {
    case WeightType::bf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(a.w)[index]);
    case WeightType::f16:
      return f16_to_f32(static_cast<const std::uint16_t*>(a.w)[index]);
    case WeightType::f32:
      break;
  }
  return static_cast<const float*>(a.w)[index];
}

void rows_gemm(const RowsGemm& a, std::int64_t n_begin, std::int64_t n_end) {
  for (std::int64_t m = 0; m < a.m; ++m) {
    for (std::int64_t n = n_begin; n < n_end; ++n) {
      float sum = 0;
      for (std::int64_t k = 0; k < a.k; ++k) {
        sum += a.x[m * a.ldx + k] * weight_at(a, n * a.ldw + k);
      }
      a.y[m * a.ldy + n] = sum;
    }
  }
}

void prepare_group(const float* x, std::int64_t k, std::int8_t* out, float& scale,
                   std::int32_t& sum) {
  float max = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < k; ++i) {
    finite = finite && std::isfinite(x[i]);
    max = std::max(max, std::fabs(x[i]));
  }
  scale = finite ? max / 127 : std::numeric_limits<float>::quiet_NaN();
  const float inverse = finite && max >= 1e-30f ? 127 / max : 0;
  sum = 0;
  for (std::int64_t i = 0; i < k; ++i) {
    constexpr float to_integer = 0x1.8p23f;
    out[i] =
        static_cast<std::int8_t>(std::fma(finite ? x[i] : 0, inverse, to_integer) - to_integer);
    sum += out[i];
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
    for (std::int64_t g = 0; g < s.groups(); ++g) {
      const std::int64_t k = g * s.group, at = r * s.groups() + g;
      prepare_group(x + r * ldx + k, std::min(s.group, s.k - k),
                    static_cast<std::int8_t*>(out.x) + r * padded + k, out.scales[at],
                    out.sums[at]);
    }
  }
}

template <class T>
void weave(const PackedShape& s, const Prepared& from, const std::int32_t* ids,
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
  if (s.type == PackedType::f32) return weave<float>(s, from, ids, out);
  if (s.type == PackedType::bf16) return weave<std::uint16_t>(s, from, ids, out);
  weave<std::int8_t>(s, from, ids, out);
  for (int i = 0; i < out.m; ++i) {
    for (std::int64_t g = 0; g < s.groups(); ++g) {
      const std::int64_t at = (ids != nullptr ? ids[i] : i) * s.groups() + g;
      out.scales[g * out.m + i] = from.scales[at];
      out.offsets[g * out.m + i] = from.sums[at] * (s.type == PackedType::int8 ? -128 : -8);
    }
  }
}

/// Element [i, k] of interleaved rows.
float row_at(const PackedShape& s, const TileRows& rows, int i, std::int64_t k) {
  const std::int64_t step = step_of(s.type), at = (k / step * rows.m + i) * step + k % step;
  if (s.type == PackedType::f32) return static_cast<const float*>(rows.x)[at];
  if (s.type == PackedType::bf16) return bf16_to_f32(static_cast<const std::uint16_t*>(rows.x)[at]);
  return static_cast<float>(static_cast<const std::int8_t*>(rows.x)[at]) *
         rows.scales[k / s.group * rows.m + i];
}

void tile(const PackedShape& s, const Tile& t) {
  for (int i = 0; i < t.rows.m; ++i) {
    for (int column = 0; column < 2 * panel_width; ++column) {
      const int panel = column / panel_width;
      float sum = 0;
      for (std::int64_t k = 0; k < s.k; ++k) {
        sum += row_at(s, t.rows, i, k) *
               unpack(s, t.w[panel], t.scales[panel], column % panel_width, k);
      }
      t.y[i * t.ldy + column] = sum;
    }
  }
}

float activated(Activation kind, float x) {
  switch (kind) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu_tanh:
      return 0.5f * x * (1 + std::tanh(0.797884561f * (x + 0.044715f * x * x * x)));
    case Activation::gelu_erf:
      return 0.5f * x * (1 + std::erf(x * 0.707106781f));
    case Activation::relu:
      break;
  }
  return x < 0 ? 0 : x;
}

void activate(const Activate& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const float* x = a.x + r * a.ldx + c;
      a.h[r * a.ldh + c] = activated(a.kind, *x) * (a.up != 0 ? x[a.up] : 1);
    }
  }
}

void add_scaled(const AddScaled& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    float* y = a.y + (a.ids != nullptr ? a.ids[r] : r) * a.ldy;
    const float scale = a.scales != nullptr ? a.scales[r] : 1;
    for (std::int64_t c = 0; c < a.columns; ++c) y[c] += a.x[r * a.ldx + c] * scale;
  }
}

void softmax(const Softmax& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    float *scores = a.scores + r * a.ld, &max = a.max[r], &sum = a.sum[r];
    max = -std::numeric_limits<float>::infinity();
    sum = 0;
    for (std::int64_t c = a.first[r]; c < a.last[r]; ++c) max = std::max(max, scores[c]);
    for (std::int64_t c = 0; c < a.columns; ++c) {
      const bool seen = c >= a.first[r] && c < a.last[r];
      scores[c] = seen ? std::exp(scores[c] - max) : 0;
      sum += scores[c];
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

void norm(const Norm& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    const float* x = a.x + r * a.ldx;
    double sum = 0, squares = 0;
    for (std::int64_t c = 0; c < a.columns; ++c) sum += x[c];
    const double mean = a.centred ? sum / static_cast<double>(a.columns) : 0;
    for (std::int64_t c = 0; c < a.columns; ++c) squares += (x[c] - mean) * (x[c] - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(a.columns) + a.eps);
    for (std::int64_t c = 0; c < a.columns; ++c) {
      a.y[r * a.ldy + c] = static_cast<float>((x[c] - mean) * scale * a.weight[c] +
                                              (a.bias != nullptr ? a.bias[c] : 0));
    }
  }
}

void rotate(const Rotate& a) {
  for (std::int64_t r = 0; r < a.m; ++r) {
    for (std::int64_t h = 0; h < a.heads; ++h) {
      float* turned = a.x + r * a.ldx + (h + 1) * a.dim - 2 * a.half;
      for (std::int64_t i = 0; i < a.half; ++i) {
        const float u = turned[i], v = turned[a.half + i];
        const float cos = a.cos[r * a.half + i], sin = a.sin[r * a.half + i];
        turned[i] = u * cos - v * sin;
        turned[a.half + i] = v * cos + u * sin;
      }
    }
  }
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

}  // namespace

const KernelTable table{"ref",      rows_gemm, {4, 4, 4, 4},  prepare, interleave, tile, activate,
                        add_scaled, softmax,   merge_softmax, norm,    rotate,     peak, read};

}  // namespace moebius::kernels::ref

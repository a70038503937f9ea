#include "kernels/packed.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/dtype.h"

namespace moebius::kernels {
namespace {

/// What stands for zero, how far codes reach below and above it, and which scales are tried, in
/// fiftieths more or less than what the largest weight asks for.
struct Codes {
  int zero, least, most;
  int first_candidate, last_candidate;
};
Codes codes_of(PackedType type) {
  return type == PackedType::int8 ? Codes{128, -127, 127, -1, 1} : Codes{8, -8, 7, -15, 7};
}

/// The code of w, ties to even.
float nearest(float w, float inverse, const Codes& codes) {
  constexpr float to_integer = 0x1.8p23f;
  const float bounded = std::min(std::max(w * inverse, static_cast<float>(codes.least)),
                                 static_cast<float>(codes.most));
  return (bounded + to_integer) - to_integer;
}

/// Sum of squares of what the codes miss.
float error_of(const float* w, std::int64_t count, float scale, const Codes& codes) {
  const float inverse = 1 / scale;
  constexpr std::int64_t lanes = 8;
  float errors[lanes] = {};
  for (std::int64_t i = 0; i < count; i += lanes) {
    for (std::int64_t lane = 0; lane < std::min(lanes, count - i); ++lane) {
      const float off = w[i + lane] - scale * nearest(w[i + lane], inverse, codes);
      errors[lane] += off * off;
    }
  }
  return std::accumulate(errors, errors + lanes, 0.0f);
}

/// The scale in bf16. With codes that reach further down than up it may be negative: the largest
/// magnitude then has the code furthest from zero.
std::uint16_t choose_scale(const float* w, std::int64_t count, const Codes& codes) {
  float largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::fabs(w[i]) > std::fabs(largest)) largest = w[i];
  }
  if (!std::isfinite(largest)) return f32_to_bf16(largest);
  if (std::fabs(largest) < 1e-30f) return 0;
  const float widest = largest / static_cast<float>(codes.least);
  std::uint16_t best = f32_to_bf16(widest);
  float least = std::numeric_limits<float>::infinity();
  for (int c = codes.first_candidate; c <= codes.last_candidate; ++c) {
    const std::uint16_t scale = f32_to_bf16(widest * (1 + 0.02f * static_cast<float>(c)));
    const float error = error_of(w, count, bf16_to_f32(scale), codes);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

/// Place of [n of its panel, k] in a panel, in elements; of int4 in halves of bytes.
std::int64_t place(PackedType type, std::int64_t n, std::int64_t k) {
  const std::int64_t step = step_of(type);
  if (type != PackedType::int4) return (k / step * panel_width + n) * step + k % step;
  return 2 * ((k / 8 * panel_width + n) * 4 + k % 4) + k / 4 % 2;
}

/// Transposes rows of `count` units into the columns of a panel, as many at once as stay cached.
template <class Unit>
void transpose_rows(const Unit* const* rows, std::int64_t n_rows, std::int64_t count, Unit* panel) {
  constexpr std::int64_t at_once = 32;
  for (std::int64_t begin = 0; begin < count; begin += at_once) {
    const std::int64_t end = std::min(begin + at_once, count);
    for (std::int64_t n = 0; n < n_rows; ++n) {
      for (std::int64_t k = begin; k < end; ++k) {
        std::memcpy(panel + k * panel_width + n, rows[n] + k, sizeof(Unit));
      }
    }
  }
}

/// Row n of a panel, of which rows beyond the matrix are zero.
void pack_row(const PackedShape& shape, const float* w, std::int64_t n, std::byte* data,
              std::uint16_t* scales) {
  const auto at = [&](std::int64_t k) { return static_cast<std::size_t>(place(shape.type, n, k)); };
  if (!shape.quantised()) {
    const DType dtype = shape.type == PackedType::f32 ? DType::f32 : DType::bf16;
    for (std::int64_t k = 0; k < shape.k; ++k) store_weight(data, dtype, at(k), w[k]);
    return;
  }
  const Codes codes = codes_of(shape.type);
  for (std::int64_t g = 0; g < shape.groups(); ++g) {
    const std::int64_t begin = g * shape.group, end = std::min(begin + shape.group, shape.k);
    const std::uint16_t chosen = choose_scale(w + begin, end - begin, codes);
    scales[g * panel_width + n] = chosen;
    const float scale = bf16_to_f32(chosen), inverse = scale != 0 ? 1 / scale : 0;
    for (std::int64_t k = begin; k < end; ++k) {
      const float code = std::isfinite(scale) ? nearest(w[k], inverse, codes) : 0;
      const auto stored = static_cast<unsigned>(static_cast<int>(code) + codes.zero);
      if (shape.type == PackedType::int8) {
        data[at(k)] = static_cast<std::byte>(stored);
      } else {
        std::byte& both = data[at(k) / 2];
        const int shift = at(k) % 2 == 0 ? 0 : 4;
        both = (both & ~(std::byte{15} << shift)) | std::byte(stored << shift);
      }
    }
  }
}

}  // namespace

void pack(const PackedShape& shape, const float* w, std::int64_t ldw, std::int64_t begin,
          std::int64_t end, void* data, std::uint16_t* scales) {
  for (std::int64_t p = begin; p < end; ++p) {
    auto* panel = static_cast<std::byte*>(data) + p * shape.panel_bytes();
    std::uint16_t* panel_scales = scales + p * shape.panel_scales();
    std::memset(panel, 0, static_cast<std::size_t>(shape.panel_bytes()));
    std::fill_n(panel_scales, shape.panel_scales(), std::uint16_t{0});
    const float* first = w + p * panel_width * ldw;
    const std::int64_t rows = std::min(panel_width, shape.n - p * panel_width);
    if (shape.type == PackedType::f32) {
      const float* row[panel_width];
      for (std::int64_t n = 0; n < rows; ++n) row[n] = first + n * ldw;
      transpose_rows(row, rows, shape.k, reinterpret_cast<float*>(panel));
      continue;
    }
    for (std::int64_t n = 0; n < rows; ++n) {
      pack_row(shape, first + n * ldw, n, panel, panel_scales);
    }
  }
}

void pack_bf16(const PackedShape& shape, const std::uint16_t* w, std::int64_t ldw,
               std::int64_t begin, std::int64_t end, void* data) {
  const std::int64_t pairs = shape.k / 2;
  for (std::int64_t p = begin; p < end; ++p) {
    auto* panel = static_cast<std::byte*>(data) + p * shape.panel_bytes();
    std::memset(panel, 0, static_cast<std::size_t>(shape.panel_bytes()));
    const std::uint16_t* first = w + p * panel_width * ldw;
    const std::int64_t rows = std::min(panel_width, shape.n - p * panel_width);
    const std::uint32_t* row[panel_width];  // pairs; read and written as bytes
    for (std::int64_t n = 0; n < rows; ++n) {
      row[n] = reinterpret_cast<const std::uint32_t*>(first + n * ldw);
    }
    transpose_rows(row, rows, pairs, reinterpret_cast<std::uint32_t*>(panel));
    if (shape.k % 2 == 0) continue;
    for (std::int64_t n = 0; n < rows; ++n) {
      std::memcpy(panel + (pairs * panel_width + n) * 4, first + n * ldw + shape.k - 1, 2);
    }
  }
}

float unpack(const PackedShape& shape, const void* data, const std::uint16_t* scales,
             std::int64_t n, std::int64_t k) {
  const std::int64_t p = n / panel_width, column = n % panel_width;
  const auto* panel = static_cast<const std::byte*>(data) + p * shape.panel_bytes();
  const auto at = static_cast<std::size_t>(place(shape.type, column, k));
  if (!shape.quantised()) {
    return load_weight(panel, shape.type == PackedType::f32 ? DType::f32 : DType::bf16, at);
  }
  const int code = shape.type == PackedType::int8
                       ? static_cast<int>(panel[at])
                       : static_cast<int>(panel[at / 2] >> (at % 2 == 0 ? 0 : 4)) & 15;
  const float scale =
      bf16_to_f32(scales[p * shape.panel_scales() + k / shape.group * panel_width + column]);
  return static_cast<float>(code - codes_of(shape.type).zero) * scale;
}

}  // namespace moebius::kernels

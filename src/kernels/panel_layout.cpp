#include "kernels/panel_layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/dtype.h"
#include "kernels/codes.h"

namespace moebius::kernels {
namespace {

/// Offset of [n, k] in its panel, in elements; of int4 in nibbles.
std::int64_t offset_of(const PackedShape& shape, std::int64_t n, std::int64_t k) {
  const std::int64_t step = step_of(shape.type), scales = shape.scales_before(k);
  if (shape.type != PackedType::int4) {
    return scales + (k / step * panel_width + n) * step + k % step;
  }
  return 2 * (scales + (k / 8 * panel_width + n) * 4 + k % 4) + k / 4 % 2;
}

/// The scale of row n and group g.
std::byte* scale_of(const PackedShape& shape, std::byte* panel, std::int64_t n, std::int64_t g) {
  return panel + shape.scales_at(g) + 2 * n;
}

/// Transposes rows of `count` units into the columns of a panel, in blocks that stay in the cache.
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

int zero_point_of(PackedType type) {
  return type == PackedType::int8 ? 128 : 8;
}

void store_code(const PackedShape& shape, std::byte* panel, std::int64_t n, std::int64_t k,
                int code) {
  const auto at = static_cast<std::size_t>(offset_of(shape, n, k));
  const auto stored = static_cast<unsigned>(code + zero_point_of(shape.type));
  if (shape.type == PackedType::int8) {
    panel[at] = static_cast<std::byte>(stored);
  } else {
    std::byte& both = panel[at / 2];
    const int shift = at % 2 == 0 ? 0 : 4;
    both = (both & ~(std::byte{15} << shift)) | std::byte(stored << shift);
  }
}

/// Packs row n of a panel that is zero.
void pack_row(const PackedShape& shape, const float* w, std::int64_t n, std::byte* panel) {
  if (!shape.quantised()) {
    for (std::int64_t k = 0; k < shape.k; ++k) {
      store_weight(panel, DType::bf16, static_cast<std::size_t>(offset_of(shape, n, k)), w[k]);
    }
    return;
  }
  const NearestCode nearest(shape.type);
  for (std::int64_t g = 0; g < shape.groups(); ++g) {
    const std::int64_t begin = g * shape.group, end = std::min(begin + shape.group, shape.k);
    const std::uint16_t chosen = scale_of_group(shape.type, w + begin, end - begin);
    std::memcpy(scale_of(shape, panel, n, g), &chosen, sizeof chosen);
    const float scale = bf16_to_f32(chosen), inverse = scale != 0 ? 1 / scale : 0;
    for (std::int64_t k = begin; k < end; ++k) {
      const float code = std::isfinite(scale) ? nearest(w[k], inverse) : 0;
      store_code(shape, panel, n, k, static_cast<int>(code));
    }
  }
}

/// Panel p, filled with zeros.
std::byte* zeroed_panel(const PackedShape& shape, std::int64_t p, void* data) {
  std::byte* panel = static_cast<std::byte*>(data) + p * shape.panel_bytes();
  std::memset(panel, 0, static_cast<std::size_t>(shape.panel_bytes()));
  return panel;
}

}  // namespace

void pack(const PackedShape& shape, const float* w, std::int64_t ldw, std::int64_t begin,
          std::int64_t end, void* data) {
  for (std::int64_t p = begin; p < end; ++p) {
    std::byte* panel = zeroed_panel(shape, p, data);
    const float* first = w + p * panel_width * ldw;
    const std::int64_t rows = std::min(panel_width, shape.n - p * panel_width);
    if (shape.type == PackedType::f32) {
      const float* row[panel_width];
      for (std::int64_t n = 0; n < rows; ++n) row[n] = first + n * ldw;
      transpose_rows(row, rows, shape.k, reinterpret_cast<float*>(panel));
      continue;
    }
    for (std::int64_t n = 0; n < rows; ++n) pack_row(shape, first + n * ldw, n, panel);
  }
}

void pack_codes(const PackedShape& shape, const std::int8_t* codes,
                const std::uint16_t* code_scales, std::int64_t ldw, std::int64_t begin,
                std::int64_t end, void* data) {
  for (std::int64_t p = begin; p < end; ++p) {
    std::byte* panel = zeroed_panel(shape, p, data);
    const std::int64_t rows = std::min(panel_width, shape.n - p * panel_width);
    for (std::int64_t n = 0; n < rows; ++n) {
      const std::int64_t row = p * panel_width + n;
      for (std::int64_t g = 0; g < shape.groups(); ++g) {
        std::memcpy(scale_of(shape, panel, n, g), code_scales + row * shape.groups() + g, 2);
      }
      for (std::int64_t k = 0; k < shape.k; ++k) {
        store_code(shape, panel, n, k, codes[row * ldw + k]);
      }
    }
  }
}

void pack_bf16(const PackedShape& shape, const std::uint16_t* w, std::int64_t ldw,
               std::int64_t begin, std::int64_t end, void* data) {
  const std::int64_t pairs = shape.k / 2;
  for (std::int64_t p = begin; p < end; ++p) {
    std::byte* panel = zeroed_panel(shape, p, data);
    const std::uint16_t* first = w + p * panel_width * ldw;
    const std::int64_t rows = std::min(panel_width, shape.n - p * panel_width);
    const std::uint32_t* row[panel_width];  // pairs of bf16
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

float unpack(const PackedShape& shape, const void* data, std::int64_t n, std::int64_t k) {
  const std::int64_t p = n / panel_width, column = n % panel_width;
  const auto* panel = static_cast<const std::byte*>(data) + p * shape.panel_bytes();
  const auto at = static_cast<std::size_t>(offset_of(shape, column, k));
  if (!shape.quantised()) {
    return load_weight(panel, shape.type == PackedType::f32 ? DType::f32 : DType::bf16, at);
  }
  const int code = shape.type == PackedType::int8
                       ? static_cast<int>(panel[at])
                       : static_cast<int>(panel[at / 2] >> (at % 2 == 0 ? 0 : 4)) & 15;
  std::uint16_t scale;
  std::memcpy(&scale, panel + shape.scales_at(k / shape.group) + 2 * column, sizeof scale);
  return static_cast<float>(code - zero_point_of(shape.type)) * bf16_to_f32(scale);
}

}  // namespace moebius::kernels

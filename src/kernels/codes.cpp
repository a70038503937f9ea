#include "kernels/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/dtype.h"

namespace moebius::kernels {
namespace {

/// The range of codes, and the candidates for a scale: multiples of 2 % more or less than the scale
/// that maps the largest weight to the end of the range.
struct Codes {
  int min, max;
  int first_candidate, last_candidate;
};
Codes codes_of(PackedType type) {
  return type == PackedType::int8 ? Codes{-127, 127, -1, 1} : Codes{-8, 7, -15, 7};
}

/// The squared error of the nearest codes.
float error_of(const float* w, std::int64_t count, float scale, const NearestCode& nearest) {
  const float inverse = 1 / scale;
  constexpr std::int64_t lanes = 8;
  float errors[lanes] = {};
  for (std::int64_t i = 0; i < count; i += lanes) {
    for (std::int64_t lane = 0; lane < std::min(lanes, count - i); ++lane) {
      const float off = w[i + lane] - scale * nearest(w[i + lane], inverse);
      errors[lane] += off * off;
    }
  }
  return std::accumulate(errors, errors + lanes, 0.0f);
}

}  // namespace

NearestCode::NearestCode(PackedType type)
    : min_(static_cast<float>(codes_of(type).min)), max_(static_cast<float>(codes_of(type).max)) {}

std::uint16_t scale_of_group(PackedType type, const float* w, std::int64_t count) {
  const Codes codes = codes_of(type);
  const NearestCode nearest(type);
  float largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::isnan(w[i]) || std::fabs(w[i]) > std::fabs(largest)) largest = w[i];
    if (std::isnan(largest)) break;
  }
  if (!std::isfinite(largest)) return f32_to_bf16(largest);
  if (std::fabs(largest) < 1e-30f) return 0;
  const float widest = largest / static_cast<float>(codes.min);
  std::uint16_t best = f32_to_bf16(widest);
  float min_error = std::numeric_limits<float>::infinity();
  for (int c = codes.first_candidate; c <= codes.last_candidate; ++c) {
    const std::uint16_t scale = f32_to_bf16(widest * (1 + 0.02f * static_cast<float>(c)));
    const float error = error_of(w, count, bf16_to_f32(scale), nearest);
    if (error < min_error) {
      min_error = error;
      best = scale;
    }
  }
  return best;
}

}  // namespace moebius::kernels

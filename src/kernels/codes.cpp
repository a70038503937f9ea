#include "kernels/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/dtype.h"

namespace moebius::kernels {
namespace {

/// How far codes reach below and above zero, and which scales are tried, in fiftieths more or less
/// than what the largest weight asks for.
struct Codes {
  int least, most;
  int first_candidate, last_candidate;
};
Codes codes_of(PackedType type) {
  return type == PackedType::int8 ? Codes{-127, 127, -1, 1} : Codes{-8, 7, -15, 7};
}

/// Sum of squares of what the codes miss.
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
    : least_(static_cast<float>(codes_of(type).least)),
      most_(static_cast<float>(codes_of(type).most)) {}

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
  const float widest = largest / static_cast<float>(codes.least);
  std::uint16_t best = f32_to_bf16(widest);
  float least = std::numeric_limits<float>::infinity();
  for (int c = codes.first_candidate; c <= codes.last_candidate; ++c) {
    const std::uint16_t scale = f32_to_bf16(widest * (1 + 0.02f * static_cast<float>(c)));
    const float error = error_of(w, count, bf16_to_f32(scale), nearest);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

}  // namespace moebius::kernels

#include "model/rope.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace moebius {
namespace {

constexpr double turn = 2 * std::numbers::pi;

at::Tensor plain(double theta, std::int64_t head_dim) {
  return 1.0 / at::pow(theta, at::arange(0, head_dim, 2, at::kFloat) / head_dim);
}

/// The base grows with the sequence once that is longer than the original context.
at::Tensor dynamic(const RopeSpec& rope, std::int64_t head_dim, std::int64_t length) {
  if (length <= rope.original_context) return plain(rope.theta, head_dim);
  const double stretch =
      rope.factor * static_cast<double>(length) / static_cast<double>(rope.original_context) -
      (rope.factor - 1);
  const auto a = static_cast<double>(head_dim);
  return plain(rope.theta * std::pow(stretch, a / (a - 2)), head_dim);
}

at::Tensor llama3(const RopeSpec& rope, std::int64_t head_dim) {
  const at::Tensor kept = plain(rope.theta, head_dim), divided = kept / rope.factor;
  const auto context = static_cast<double>(rope.original_context);
  const at::Tensor turns = context * kept / turn;  // in the original context
  const at::Tensor smooth =
      ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0, 1);
  return (1 - smooth) * divided + smooth * kept;
}

at::Tensor yarn(const RopeSpec& rope, std::int64_t head_dim) {
  const at::Tensor kept = plain(rope.theta, head_dim), divided = kept / rope.factor;
  const auto a = static_cast<double>(head_dim);
  // The dimension that makes `turns` turns in the original context.
  const auto dimension = [&](double turns) {
    const double length = static_cast<double>(rope.original_context) / (turns * turn);
    return a * std::log(length) / (2 * std::log(rope.theta));
  };
  double low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, a - 1);
  if (low == high) high += 0.001;
  const at::Tensor ramp = ((at::arange(head_dim / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  return divided * ramp + kept * (1 - ramp);
}

}  // namespace

at::Tensor rope_frequencies(const RopeSpec& rope, std::int64_t head_dim, std::int64_t length) {
  switch (rope.scaling) {
    case RopeScaling::linear:
      return plain(rope.theta, head_dim) / rope.factor;
    case RopeScaling::dynamic:
      return dynamic(rope, head_dim, length);
    case RopeScaling::llama3:
      return llama3(rope, head_dim);
    case RopeScaling::yarn:
      return yarn(rope, head_dim);
    case RopeScaling::none:
      break;
  }
  return plain(rope.theta, head_dim);
}

RotaryAngles::RotaryAngles(const ModelSpec& spec) : rope_(spec.rope) {
  if (spec.position != PositionKind::rope) return;
  const at::Tensor plain = rope_frequencies(rope_, spec.rotary_dim(), 1).contiguous();
  const auto* values = plain.const_data_ptr<float>();
  frequencies_.assign(values, values + plain.numel());
}

void RotaryAngles::fill(std::int64_t past, std::int64_t count, float* cos, float* sin) const {
  const float* frequencies = frequencies_.data();
  at::Tensor stretched;
  if (rope_.scaling == RopeScaling::dynamic && past + count > rope_.original_context) {
    stretched = rope_frequencies(rope_, 2 * half(), past + count).contiguous();
    frequencies = stretched.const_data_ptr<float>();
  }
  const auto factor = static_cast<float>(rope_.attention_factor);
  for (std::int64_t t = 0; t < count; ++t) {
    for (std::int64_t i = 0; i < half(); ++i) {
      const float angle = static_cast<float>(past + t) * frequencies[i];
      *cos++ = std::cos(angle) * factor;
      *sin++ = std::sin(angle) * factor;
    }
  }
}

}  // namespace moebius

// Rotary positions of a configuration. Formulas of the kinds: transformers' modeling_rope_utils.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/family_parts.h"

namespace moebius {
namespace {

/// Attention factor of YaRN (Peng et al., 2023, section 3.4), as DeepSeek extended it.
double yarn_attention_factor(const RopeSpec& rope, double mscale) {
  const double all = rope.mscale_all_dim;
  return mscale != 0 && all != 0
             ? attention_mscale(rope.factor, mscale) / attention_mscale(rope.factor, all)
             : attention_mscale(rope.factor, 1);
}

void read_scaling(const JsonView& rope, ModelSpec& spec) {
  RopeSpec& r = spec.rope;
  r.factor = rope.number("factor");
  if (r.factor < 1 || r.factor > 1e6) rope.fail_key("factor", "is not in [1, 1000000]");
  r.mscale_all_dim = rope.number_or("mscale_all_dim", 0);
  r.original_context =
      rope.integer_or("original_max_position_embeddings", spec.context, 1, max_size);
  const auto stretched = [&](std::int64_t context) {
    return static_cast<std::int64_t>(static_cast<double>(context) * r.factor);
  };
  if (r.scaling == RopeScaling::linear || r.scaling == RopeScaling::dynamic) {
    r.original_context = spec.context;
    spec.context = stretched(spec.context);
    if (r.scaling == RopeScaling::dynamic && spec.rotary_dim() < 4) {
      rope.fail_key("rope_type", "is dynamic, which needs heads of 4 or more");
    }
  } else if (r.scaling == RopeScaling::llama3) {
    r.low_freq_factor = rope.number("low_freq_factor");
    r.high_freq_factor = rope.number("high_freq_factor");
    if (r.low_freq_factor <= 0 || r.high_freq_factor <= r.low_freq_factor) {
      rope.fail_key("high_freq_factor", "is not above low_freq_factor, or that is not positive");
    }
  } else {
    spec.context = std::max(spec.context, stretched(r.original_context));
    r.beta_fast = rope.number_or("beta_fast", 32);
    r.beta_slow = rope.number_or("beta_slow", 1);
    if (r.beta_slow <= 0 || r.beta_fast < r.beta_slow) {
      rope.fail_key("beta_fast", "is below beta_slow, or that is not positive");
    }
    r.truncate = rope.boolean_or("truncate", true);
    r.attention_factor =
        rope.number_or("attention_factor", yarn_attention_factor(r, rope.number_or("mscale", 0)));
  }
}

}  // namespace

double attention_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void read_rope(const JsonView& config, ModelSpec& spec, double default_theta) {
  spec.position = PositionKind::rope;
  spec.rope.theta = config.number_or("rope_theta", default_theta);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!config.has(key)) continue;
    const JsonView rope = config.object(key);
    const std::string kind = rope.string_or("rope_type", rope.string_or("type", "default"));
    if (rope.number_or("partial_rotary_factor", 1.0) != 1.0) {
      rope.fail_key("partial_rotary_factor", "other than 1 is not supported");
    }
    spec.rope.theta = rope.number_or("rope_theta", spec.rope.theta);
    spec.rope.scaling = rope_scaling_from(kind, rope.where());
    if (spec.rope.scaling == RopeScaling::none) continue;
    read_scaling(rope, spec);
    break;  // outputs carry both spellings
  }
  if (spec.rope.theta <= 0) config.fail_key("rope_theta", "is not positive");
}

}  // namespace moebius

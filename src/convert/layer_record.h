// What the layer test found of one converted layer.
#pragma once

#include <cstdint>
#include <string>

namespace moebius {

/// A converted layer, as conversion.json has it.
struct LayerRecord {
  std::int64_t layer = 0, experts = 0, top_k = 0;
  std::string method;
  bool kept = false;
  double ffn_error = 0;  ///< ||MoE output - dense output|| / ||dense output|| over the prompt
  double kl = 0;         ///< KL(dense || layers accepted so far and this one), nats, mean
  double agreement = 0;  ///< share of positions with equal argmax
  std::string reason;    ///< why it was reverted; empty when kept
};

}  // namespace moebius

// The routing of an MoE layer that was computed with tensors, in host memory, as routing
// statistics take it.
#pragma once

#include <vector>

#include "moe/moe.h"
#include "moe/routing_statistics.h"

namespace moebius {

struct HostRouting {
  std::vector<std::int32_t> ids_TK;
  std::int64_t top_k = 0, experts = 0;
  double entropy_sum = 0;

  RoutedTokens view() const { return {ids_TK, top_k, experts, entropy_sum}; }
};

/// Copies ids from the device of `routing`. The entropy is summed there in f64, and left at 0
/// unless it is wanted.
HostRouting host_routing(const Routing& routing, bool with_entropy = true);

}  // namespace moebius

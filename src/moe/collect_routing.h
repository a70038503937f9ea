#pragma once

#include <span>

#include "moe/moe.h"
#include "moe/routing_statistics.h"

namespace moebius {

/// The statistics of one pass: `routings` are those of the model's MoE layers, in order.
RoutingStatistics collect_routing(const ModelSpec& spec, std::span<const Routing> routings);

}  // namespace moebius

#include "moe/collect_routing.h"

#include "base/error.h"
#include "moe/host_routing.h"

namespace moebius {

RoutingStatistics collect_routing(const ModelSpec& spec, std::span<const Routing> routings) {
  RoutingStatistics statistics;
  statistics.layers.resize(spec.layers.size());
  std::size_t next = 0;
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (!spec.layers[l].moe) continue;
    if (next == routings.size()) fail("[collect_routing] no routing for layer {}", l);
    statistics.layers[l].add(host_routing(routings[next++]).view());
  }
  return statistics;
}

}  // namespace moebius

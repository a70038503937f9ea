#include "train/metrics.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius {

Metrics::Entry& Metrics::entry(const std::string& name, bool is_sum) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& each) { return each.name == name; });
  if (found == entries_.end()) {
    entries_.push_back({.name = name, .is_sum = is_sum});
    return entries_.back();
  }
  if (found->is_sum != is_sum) fail("[Metrics] {} is both a mean and a sum", name);
  return *found;
}

void Metrics::add_mean(const std::string& name, double value, double weight) {
  Entry& mean = entry(name, false);
  if (weight == 0) return;
  mean.sum += value * weight;
  mean.weight += weight;
}

void Metrics::add_sum(const std::string& name, double value) {
  entry(name, true).sum += value;
}

void Metrics::add_routing(const RoutingStatistics& routing) {
  routing_.merge(routing);
}

void Metrics::merge(const Metrics& other) {
  for (const Entry& from : other.entries_) {
    Entry& to = entry(from.name, from.is_sum);
    to.sum += from.sum;
    to.weight += from.weight;
  }
  routing_.merge(other.routing_);
}

double Metrics::value(const std::string& name) const {
  for (const Entry& each : entries_) {
    if (each.name == name) return each.value();
  }
  return 0;
}

void Metrics::write(Json& row) const {
  for (const Entry& each : entries_) row[each.name] = each.value();
  if (routing_.layers.empty()) return;
  row["router_entropy"] = routing_.router_entropy();
  row["max_violation"] = routing_.max_violation();
  row["dead_experts"] = routing_.dead_experts();
}

void Metrics::write_layers(Json& row) const {
  if (routing_.layers.empty()) return;
  Json layers = Json::array();
  for (std::size_t l = 0; l < routing_.layers.size(); ++l) {
    const RouterStatistics& layer = routing_.layers[l];
    if (layer.empty()) continue;
    layers.push_back({{"layer", l},
                      {"load", layer.share_E()},
                      {"max_violation", layer.max_violation()},
                      {"load_cv", layer.load_cv()},
                      {"router_entropy", layer.router_entropy()},
                      {"dead", layer.dead_experts().size()}});
  }
  row["layers"] = std::move(layers);
}

}  // namespace moebius

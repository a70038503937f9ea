// Figures of a training step: named weighted means and sums, and the routing statistics of every
// layer. They combine over micro-batches, steps and ranks, so that a figure is always of all that
// was computed.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "moe/routing_statistics.h"

namespace moebius {

class Metrics {
 public:
  /// Adds a value to the weighted mean `name`. A weight of 0 leaves it unchanged.
  void add_mean(const std::string& name, double value, double weight);
  /// Adds to the sum `name`.
  void add_sum(const std::string& name, double value);
  /// Adds the routing statistics of a micro-batch.
  void add_routing(const RoutingStatistics& routing);
  /// Adds all that another micro-batch, step or rank recorded. Throws Error if the layers of the
  /// routing statistics do not match.
  void merge(const Metrics& other);

  /// The mean or sum of that name; 0 where there is none.
  double value(const std::string& name) const;
  const RoutingStatistics& routing() const { return routing_; }
  bool empty() const { return entries_.empty() && routing_.layers.empty(); }

  /// Every mean and sum in the order in which they first came, then the figures of routing, if any:
  /// `router_entropy`, `max_violation`, `dead_experts`.
  void write(Json& row) const;
  /// `layers`: one object per MoE layer with `layer`, `load` (share of assignments by expert),
  /// `max_violation`, `load_cv`, `router_entropy`, `dead`.
  void write_layers(Json& row) const;

 private:
  struct Entry {
    std::string name;
    double sum = 0;     ///< of value times weight
    double weight = 0;  ///< of a mean; of a sum 0
    bool is_sum = false;
    double value() const { return is_sum || weight == 0 ? sum : sum / weight; }
  };
  Entry& entry(const std::string& name, bool is_sum);

  std::vector<Entry> entries_;
  RoutingStatistics routing_;
};

}  // namespace moebius

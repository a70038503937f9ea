// Records what the routers do during passes of a model: statistics, and on request the experts of
// each token. Every backend reports to it, so both come from the same place. No tensors here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "moe/routing_statistics.h"

namespace moebius {

/// The experts that one token was routed to, the best first, by layer of the model; empty in dense
/// layers.
using TokenExperts = std::vector<std::vector<std::int32_t>>;

class RoutingRecorder {
 public:
  enum class Records { statistics, experts };
  /// `statistics` adds up over passes; `experts` are those of the last pass alone.
  explicit RoutingRecorder(Records records = Records::statistics) : records_(records) {}

  /// Begins a pass over `rows` tokens of a model with so many layers.
  void begin_pass(std::size_t layers, std::int64_t rows);
  /// Whether `RoutedTokens::entropy_sum` is needed.
  bool wants_entropy() const { return records_ == Records::statistics; }
  /// Adds what the router of `layer` did with tokens of the pass: those from `first_row` on, or
  /// those in `rows_T` unless that is empty.
  void add(std::size_t layer, const RoutedTokens& routed, std::int64_t first_row,
           std::span<const std::int64_t> rows_T = {});

  const RoutingStatistics& statistics() const { return statistics_; }
  /// Experts of a token of the last pass.
  const TokenExperts& experts_of(std::int64_t row) const {
    return experts_[static_cast<std::size_t>(row)];
  }

 private:
  Records records_;
  RoutingStatistics statistics_;
  std::vector<TokenExperts> experts_;  ///< by row
};

}  // namespace moebius

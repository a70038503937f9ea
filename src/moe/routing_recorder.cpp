#include "moe/routing_recorder.h"

namespace moebius {

void RoutingRecorder::begin_pass(std::size_t layers, std::int64_t rows) {
  statistics_.layers.resize(layers);
  if (records_ == Records::experts) {
    experts_.assign(static_cast<std::size_t>(rows), TokenExperts(layers));
  }
}

void RoutingRecorder::add(std::size_t layer, const RoutedTokens& routed, std::int64_t first_row,
                          std::span<const std::int64_t> rows_T) {
  if (records_ == Records::statistics) return statistics_.layers[layer].add(routed);
  const auto top_k = static_cast<std::size_t>(routed.top_k);
  for (std::size_t t = 0; t < static_cast<std::size_t>(routed.tokens()); ++t) {
    const std::int64_t row = rows_T.empty() ? first_row + static_cast<std::int64_t>(t) : rows_T[t];
    const auto ids = routed.ids_TK.subspan(t * top_k, top_k);
    experts_[static_cast<std::size_t>(row)][layer].assign(ids.begin(), ids.end());
  }
}

}  // namespace moebius

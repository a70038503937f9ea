#include "data/token_batch.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace moebius {

std::int64_t TokenBatch::longest_sequence() const {
  std::int64_t longest = 0;
  for (std::size_t s = 0; s + 1 < sequence_starts.size(); ++s) {
    longest = std::max(longest, sequence_starts[s + 1] - sequence_starts[s]);
  }
  return longest;
}

double TokenBatch::total_weight() const {
  return std::accumulate(weights_N.begin(), weights_N.end(), 0.0);
}

void TokenBatch::add(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                     std::span<const float> weights) {
  if (ids.empty()) fail("[TokenBatch] a sequence without tokens");
  if (targets.size() != ids.size() || weights.size() != ids.size()) {
    fail("[TokenBatch] {} tokens, {} targets and {} weights", ids.size(), targets.size(),
         weights.size());
  }
  for (const float weight : weights) {
    if (!std::isfinite(weight) || weight < 0) fail("[TokenBatch] a weight is {}", weight);
  }
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(ids_N, ids);
  append(targets_N, targets);
  append(weights_N, weights);
  positions_N.resize(ids_N.size());
  std::iota(positions_N.end() - std::ssize(ids), positions_N.end(), 0);
  sequence_starts.push_back(tokens());
}

void TokenBatch::add_next_token(std::span<const std::int32_t> ids, std::span<const float> weights) {
  if (ids.size() < 2) fail("[TokenBatch] {} tokens predict nothing", ids.size());
  const std::size_t count = ids.size() - 1;
  const std::vector<float> ones(weights.empty() ? count : 0, 1.0f);
  add(ids.first(count), ids.last(count), weights.empty() ? std::span<const float>(ones) : weights);
}

}  // namespace moebius

#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>

#include "base/random.h"
#include "infer/engine/request.h"

namespace moebius {

/// The token with the largest score; of equal ones the lowest id.
std::int32_t most_probable(std::span<const float> logits_V);

/// Chooses tokens. The same options, seed, stream and scores give the same tokens.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::uint64_t seed, std::uint64_t stream);

  /// Adds a token of prompt or text, for the repetition penalty.
  void saw(std::int32_t id) { seen_.insert(id); }
  /// Chooses from the scores of all tokens; applies the repetition penalty to them in place.
  std::int32_t next(std::span<float> logits_V);

 private:
  std::int32_t draw(std::span<const float> logits_V);
  SamplingOptions options_;
  Random random_;
  std::unordered_set<std::int32_t> seen_;
};

}  // namespace moebius

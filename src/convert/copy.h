// The one pass over the source's bytes: each tensor is hashed and scanned, and written to wherever
// the output wants it while the next one is hashed. What is made rather than copied follows.
#pragma once

#include <atomic>
#include <map>
#include <string>

#include "convert/output_plan.h"

namespace moebius {

struct CopyResult {
  std::map<std::string, std::string> digests;  ///< XXH3-128 of each weight file, by its name
  std::size_t bytes = 0;                       ///< written
};

/// Writes the weights of `plan` into `directory`. Throws Error naming the tensor at the first
/// non-finite weight. Returns early, with nothing of use, once `cancel` is set.
CopyResult copy_weights(const Source& source, const OutputPlan& plan, const fs::path& directory,
                        std::size_t max_shard_bytes, const Context& ctx,
                        const std::atomic<bool>& cancel);

}  // namespace moebius

// Copies weights of the sources into the output in one pass: each tensor is hashed, scanned for
// non-finite values and written to all its destinations while the next one is hashed. Computed
// tensors are written afterwards.
#pragma once

#include <atomic>
#include <vector>

#include "checkpoint/companions.h"
#include "convert/output_plan.h"

namespace moebius {

struct CopyResult {
  std::vector<Digests> digests;  ///< of each source's weight files
  std::size_t bytes = 0;         ///< written
};

/// Writes the weights of `plan` into `directory`. Throws Error naming the tensor at the first
/// non-finite weight. Returns early, with an incomplete result, once `cancel` is set.
CopyResult copy_weights(const Sources& sources, const OutputPlan& plan, const fs::path& directory,
                        std::size_t max_shard_bytes, const Context& ctx,
                        const std::atomic<bool>& cancel);

}  // namespace moebius

// The learning rate by step.
#pragma once

#include <cstdint>

namespace moebius {

/// Linear warm-up to `lr`, then half a cosine down to `min_lr_ratio` times `lr` (Loshchilov and
/// Hutter, SGDR, 2017).
struct Schedule {
  double lr = 3e-4, min_lr_ratio = 0.1;
  std::int64_t warmup = 0;  ///< steps

  /// Learning rate of step `step`, counted from 0, of `steps`.
  double lr_at(std::int64_t step, std::int64_t steps) const;
};

}  // namespace moebius

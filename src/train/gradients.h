// Norms of gradients, and clipping by them.
#pragma once

#include <functional>
#include <vector>

#include "train/parameters.h"

namespace moebius {

/// L2 norm of the gradients of all parameters together, or of those whose name `chosen` takes. One
/// that never arose counts as zero.
double gradient_norm(const std::vector<Parameter>& parameters,
                     const std::function<bool(const std::string& name)>& chosen = {});

/// The factor that brings gradients of `norm` down to `largest`; 1 where they are not above it, or
/// `largest` is 0.
double clip_scale(double norm, double largest);

}  // namespace moebius

// Limits of the device: memory bandwidth and peak of the dot products.
#pragma once

#include <functional>

#include "base/context.h"
#include "kernels/limits.h"

namespace moebius {

/// A function that measures the limits of the device of `ctx`: on the CPU with `ctx.threads`
/// threads, on a GPU by a sum over 1 GiB and products of large matrices by LibTorch.
std::function<kernels::Limits()> limit_sampler(const Context& ctx);

}  // namespace moebius

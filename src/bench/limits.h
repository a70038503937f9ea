// What the device can do at best, measured between the figures that are compared with it.
#pragma once

#include <functional>

#include "base/context.h"
#include "kernels/limits.h"

namespace moebius {

/// Samples the limits of the device that `ctx` names, on the CPU with as many threads: of a GPU by
/// a sum over 1 GiB and by products of large matrices, whose speed LibTorch's libraries give.
std::function<kernels::Limits()> limit_sampler(const Context& ctx);

}  // namespace moebius

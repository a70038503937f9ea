#pragma once

#include <ATen/core/Tensor.h>

#include "base/context.h"

namespace moebius {

/// The device that `ctx` names; throws UsageError where it cannot be had.
at::Device device_of(const Context& ctx);

}  // namespace moebius

// What the dense FFNs see on calibration text.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>

#include "convert/output_plan.h"
#include "moe/moe.h"

namespace moebius {

/// Walks the dense model over `ids`, in windows, and hands out for each of `layers` (ascending) the
/// inputs of its FFN, [T, D] in f32, after the norm. One thread computes, so that what is made of
/// them does not depend on their number.
void walk_ffn_inputs(const Source& source, const std::vector<std::int64_t>& layers,
                     std::span<const std::int32_t> ids, const Context& ctx,
                     const std::function<void(std::int64_t layer, const at::Tensor& x_TD,
                                              const Ffn& dense)>& on_layer);

}  // namespace moebius

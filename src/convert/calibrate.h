// What the dense FFNs see on calibration text.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>

#include "convert/output_plan.h"
#include "moe/moe.h"

namespace moebius {

/// What a dense FFN does on T tokens, in f32.
struct FfnTrace {
  std::int64_t layer;
  const Ffn& dense;
  at::Tensor x_TD;  ///< its inputs, after the norm
  at::Tensor h_TF;  ///< what its neurons answer
};

/// Walks the dense model over `ids`, in windows, and hands out the trace of each of `layers`
/// (ascending). One thread computes, so that what is made of them does not depend on their number.
void trace_ffns(const Source& source, const std::vector<std::int64_t>& layers,
                std::span<const std::int32_t> ids, const Context& ctx,
                const std::function<void(const FfnTrace& trace)>& on_layer);

}  // namespace moebius

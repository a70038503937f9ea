// What the layers of the source do on text.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>

#include "convert/output_plan.h"
#include "moe/moe.h"

namespace moebius {

/// What one layer's FFN does on T tokens, in f32.
struct FfnTrace {
  std::int64_t layer;
  at::Tensor x_TD;            ///< its inputs, after the norm
  const Ffn* dense;           ///< null: the layer is an MoE
  at::Tensor h_TF;            ///< what the dense FFN's neurons answer
  at::Tensor router_TE;       ///< scores of an MoE's experts
  std::vector<double> usage;  ///< tokens that each expert of an MoE got
};

/// Walks the source over `sequences`, [1, S] each, and hands out the trace of each of `layers`
/// (ascending), the tokens of all sequences one after the other. A sequence is computed by one
/// thread, and so is what `on_layer` makes of the trace: the same at any number of threads.
void trace_layers(const Source& source, const std::vector<std::int64_t>& layers,
                  const std::vector<at::Tensor>& sequences, const Context& ctx,
                  const std::function<void(const FfnTrace& trace)>& on_layer);

}  // namespace moebius

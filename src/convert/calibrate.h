// What the layers of the source do on text.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>

#include "convert/output_plan.h"
#include "moe/moe.h"
#include "text/tokenizer.h"

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

/// Throws UsageError unless `--calibration-tokens` is within what is useful.
void check_calibration_tokens(std::int64_t tokens);
/// `tokens` of the files, of each as many, in windows [1, S] of one length; a rest that fills none
/// is left out. Throws Error without a tokenizer, and for text that is too short or whose ids the
/// model does not know.
std::vector<at::Tensor> calibration_windows(const ModelSpec& spec, const fs::path& directory,
                                            const std::optional<Tokenizer>& tokenizer,
                                            const std::vector<std::string>& files,
                                            std::int64_t tokens);

/// Walks the source over `sequences`, [1, S] each, and hands out the trace of each of `layers`
/// (ascending), the tokens of all sequences one after the other. A sequence is computed by one
/// thread, and so is what `on_layer` makes of the trace: the same at any number of threads.
void trace_layers(const Source& source, const std::vector<std::int64_t>& layers,
                  const std::vector<at::Tensor>& sequences, const Context& ctx,
                  const std::function<void(const FfnTrace& trace)>& on_layer);

}  // namespace moebius

// Inference on a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include "infer/backends/inference_model.h"

namespace moebius {

/// Moves a model to `device`, to compute with `weights`: "f32", "bf16", or the packed type of its
/// matrices, "int8" or "int4", beside which all else is bf16. A pass over one token per sequence
/// is captured as a CUDA graph.
std::unique_ptr<InferenceModel> cuda_inference(Model model, std::string_view weights,
                                               at::Device device);

}  // namespace moebius

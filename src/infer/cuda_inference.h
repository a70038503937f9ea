// Models on a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include "infer/inference.h"

namespace moebius {

/// Moves a model to `device`, to compute with `weights`: "f32", "bf16", or what its matrices are
/// packed as, "int8" or "int4", beside which all else is bf16. A pass over a token of each sequence
/// is captured as a CUDA graph.
std::unique_ptr<InferenceModel> cuda_inference(Model model, std::string_view weights,
                                               at::Device device);

}  // namespace moebius

// Text that a model reads so that it can be seen what its layers do.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "config/model_spec.h"
#include "text/tokenizer.h"

namespace moebius {

/// The tokenizer beside a model, if there is one. Throws Error for one that the model does not fit.
std::optional<Tokenizer> tokenizer_beside(const fs::path& directory, const ModelSpec& spec);

/// `tokens` of the files, of each as many, in windows [1, S] of one length; a rest that fills none
/// is left out. Throws Error without a tokenizer, and for text that is too short or whose ids the
/// model does not know.
std::vector<at::Tensor> calibration_windows(const ModelSpec& spec, const fs::path& directory,
                                            const std::optional<Tokenizer>& tokenizer,
                                            const std::vector<std::string>& files,
                                            std::int64_t tokens);

}  // namespace moebius

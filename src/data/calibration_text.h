// Text that calibration runs through a model, to observe the inputs of its layers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "config/model_spec.h"
#include "text/tokenizer.h"

namespace moebius {

/// The first `tokens` tokens of the files, the same number from each, cut into windows of one
/// length; a rest shorter than a window is left out. Throws Error without a tokenizer, for a text
/// that is too short, and for ids outside the model's vocabulary.
std::vector<std::vector<std::int32_t>> calibration_windows(
    const ModelSpec& spec, const fs::path& directory, const std::optional<Tokenizer>& tokenizer,
    const std::vector<std::string>& files, std::int64_t tokens);

}  // namespace moebius

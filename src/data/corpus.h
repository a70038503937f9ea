// Text files as one sequence of token ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "text/tokenizer.h"

namespace moebius {

/// Ids of a file: a plain text as the tokenizer makes it; the rows of a .jsonl or .json file one
/// after the other, each ended by `eos` where there is one.
std::vector<std::int32_t> tokenize_file(const fs::path& file, const std::string& key,
                                        const Tokenizer& tokenizer,
                                        std::optional<std::int64_t> eos);

}  // namespace moebius

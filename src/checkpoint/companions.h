// The files that go with a model's weights: tokenizer, chat template, generation configuration,
// modelling code.
#pragma once

#include <map>
#include <string>

#include "base/files.h"

namespace moebius {

/// Copies those that lie in `from` into `to`, as they are; gives the XXH3-128 of each by name.
std::map<std::string, std::string> copy_companions(const fs::path& from, const fs::path& to);

}  // namespace moebius

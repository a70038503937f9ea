// The layers that `--layers` and `--every` select.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moebius {

/// Layers that `--layers` or `--every` choose, ascending. Throws UsageError on malformed text,
/// Error for layers out of range.
std::vector<std::int64_t> choose_layers(const std::string& layers, std::int64_t every,
                                        std::int64_t count);

}  // namespace moebius

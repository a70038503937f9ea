// The files that mark a directory of packed weights; `model/packed_file.h` reads and writes them.
#pragma once

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "checkpoint/safetensors.h"

namespace moebius {

inline constexpr const char *packed_manifest_name = "packed.json",
                            *packed_weights_name = "packed.safetensors";
inline constexpr const char* packed_format = "moebius-packed";
inline constexpr std::int64_t packed_version = 2;

bool has_packed_weights(const fs::path& directory);

/// packed.json after a check of its format and version. Throws Error naming the file.
Json read_packed_manifest(const fs::path& directory);

}  // namespace moebius

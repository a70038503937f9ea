// What says of a directory that its weights are packed, and how; see `model/packed_file.h`.
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

/// packed.json, of which format and version have been checked. Throws Error naming the file.
Json read_packed_manifest(const fs::path& directory);

}  // namespace moebius

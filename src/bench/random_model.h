#pragma once

#include "model/load.h"

namespace moebius {

/// A model of random weights in bf16 for what only shapes decide. Experts are copies of one, so
/// that this takes little time and memory; routers differ.
Model random_model(const ModelSpec& spec, std::uint64_t seed);

/// Ids below `vocab`.
std::vector<std::int32_t> random_ids(std::uint64_t seed, std::uint64_t stream, std::int64_t count,
                                     std::int64_t vocab);

}  // namespace moebius

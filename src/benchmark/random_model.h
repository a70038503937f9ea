#pragma once

#include "model/load.h"

namespace moebius {

/// A model of random bf16 weights, for measurements that depend on shapes alone. All experts of a
/// layer share one expert's memory, which saves time; routers differ.
Model random_model(const ModelSpec& spec, std::uint64_t seed);

/// Random ids below `vocab`.
std::vector<std::int32_t> random_ids(std::uint64_t seed, std::uint64_t stream, std::int64_t count,
                                     std::int64_t vocab);

}  // namespace moebius

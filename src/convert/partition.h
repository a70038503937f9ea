// Dividing an FFN's neurons into experts of equal width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace moebius {

/// Which part each of F neurons belongs to; the parts' sizes differ by at most one.
using Assignment = std::vector<std::int64_t>;

/// By lot.
Assignment random_partition(std::int64_t neurons, std::int64_t parts, std::uint64_t seed,
                            const std::string& stream);

/// Balanced spherical k-means: neurons whose rows of `features_FT` point the same way come
/// together. Deterministic for a seed.
Assignment cluster(const at::Tensor& features_FT, std::int64_t parts, std::uint64_t seed,
                   const std::string& stream);

/// The assignment with parts of equal size whose sum of `similarity_FE` no exchange of two neurons
/// improves.
Assignment assign_balanced(const at::Tensor& similarity_FE);

}  // namespace moebius

// Division of an FFN's neurons into experts of equal width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace moebius {

/// The part of each of F neurons; the parts' sizes differ by at most one.
using Assignment = std::vector<std::int64_t>;

/// A random partition.
Assignment random_partition(std::int64_t neurons, std::int64_t parts, std::uint64_t seed,
                            const std::string& stream);

/// Balanced spherical k-means of the neurons by their rows of `features_FT`. Deterministic for a
/// seed.
Assignment cluster(const at::Tensor& features_FT, std::int64_t parts, std::uint64_t seed,
                   const std::string& stream);

/// An assignment with parts of equal size whose sum of `similarity_FE` no exchange of two neurons
/// increases.
Assignment assign_balanced(const at::Tensor& similarity_FE);

}  // namespace moebius

// Initial routers.
#pragma once

#include <ATen/core/Tensor.h>

#include "convert/output_plan.h"

namespace moebius {

/// The elements of a tensor, row-major.
std::vector<float> values_of(const at::Tensor& tensor);

/// Rows [E, D], row-major, of `--router random`, scaled for the norm before the router.
std::vector<float> fresh_router(const Source& source, std::int64_t layer, std::int64_t experts,
                                std::uint64_t seed);

/// Router weights [E, D], row-major, normal with standard deviation 1 / (sqrt(D) rms): a token of
/// root mean square `rms` then has logits of standard deviation 1, and the softmax is far from
/// saturated. `rms` is the root mean square of the output of the norm before the router.
std::vector<float> random_router(std::int64_t experts, std::int64_t d_model, double rms,
                                 std::uint64_t seed, std::int64_t layer);

/// Rows [E, D] that score x_TD by its projection on each of `directions_ED`, minus their common
/// component and the mean of x_TD, so that no expert is preferred for what all tokens share. Over
/// x_TD the scores of a token have a standard deviation of 1 on average.
at::Tensor rows_towards(const at::Tensor& directions_ED, const at::Tensor& x_TD);

/// `--router centroid`: rows towards the centres of balanced spherical k-means over the router's
/// own inputs x_TD, after the norm and minus their mean.
std::vector<float> centroid_router(const at::Tensor& x_TD, std::int64_t experts, std::uint64_t seed,
                                   std::int64_t layer);

}  // namespace moebius

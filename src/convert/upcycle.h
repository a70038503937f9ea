// Upcycling: every expert is a copy of the dense FFN (Komatsuzaki et al., 2022), or a fine-grained
// part of a copy (He et al., 2024), with noise or drawn anew in part (Nakamura et al., 2025); the
// router is fresh. Without noise and drop the layer is the dense FFN.
#pragma once

#include "convert/output_plan.h"

namespace moebius {

/// E, K and G count copies: G = 2 makes 2 E experts of half the width, of which a token takes 2 K,
/// both halves of a copy together. Parts of a copy have equal router rows, so each has 1/G of the
/// copy's weight, which the factor G on down makes up for. N shared expert widths: what they
/// hold comes half from them, half from the routed experts. Throws Error if G does not divide the
/// width, or if a stored 16-bit weight could not hold the factor exactly.
LayerRecipe upcycle_layer(const Source& source, std::int64_t layer, const ConvertOptions& options,
                          std::uint64_t seed);

/// The router of `--router random` or `zero`, a row for each of `options.experts`.
std::vector<float> fresh_router(const Source& source, std::int64_t layer,
                                const ConvertOptions& options, std::uint64_t seed);

/// Router weights [E, D], row-major, normal with standard deviation 1 / (sqrt(D) rms): a token of
/// root mean square `rms` then has logits of standard deviation 1, and the softmax is far from
/// saturated. `rms` is what the norm before the router makes of a normalised token.
std::vector<float> random_router(std::int64_t experts, std::int64_t d_model, double rms,
                                 std::uint64_t seed, std::int64_t layer);

}  // namespace moebius

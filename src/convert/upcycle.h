// Upcycling: every expert is a copy of the dense FFN (Komatsuzaki et al., 2022), or a fine-grained
// part of a copy (He et al., 2024), with noise or partly initialised again (Nakamura et al., 2025).
// Without noise and drop the layer equals the dense FFN.
#pragma once

#include "convert/output_plan.h"

namespace moebius {

/// E and K count copies: G = 2 gives 2 E experts of half the width, top-2K, the halves of a copy
/// always chosen together. Parts of a copy have equal router rows, so each has 1/G of the copy's
/// weight; down is multiplied by G. The output of a neuron in the shared expert comes half from it,
/// half from the routed experts. Copies are of the sources in turn (Sukhbaatar et al., 2024).
/// `rows` is the router, [E, D]. Throws Error if G does not divide the width, or if a 16-bit
/// weight, `written` being its dtype, could not hold the factor exactly.
LayerRecipe upcycle_layer(const Sources& sources, std::int64_t layer, const LayerOptions& options,
                          const std::vector<float>& rows, DType written);

}  // namespace moebius

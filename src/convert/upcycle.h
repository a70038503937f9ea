// Upcycling: every expert is a copy of the dense FFN (Komatsuzaki et al., 2022), or a fine-grained
// part of a copy (He et al., 2024), with noise or drawn anew in part (Nakamura et al., 2025); the
// router is fresh. Without noise and drop the layer is the dense FFN.
#pragma once

#include "convert/output_plan.h"

namespace moebius {

/// E, K and G count copies: G = 2 makes 2 E experts of half the width, of which a token takes 2 K,
/// both halves of a copy together. Parts of a copy have equal router rows, so each has 1/G of the
/// copy's weight, which the factor G on down makes up for. N shared expert widths: what they
/// hold comes half from them, half from the routed experts. Copies are taken from the sources in
/// turn (Sukhbaatar et al., 2024). `rows` is the router, [E, D]. Throws Error if G does not divide
/// the width, or if a 16-bit weight, `written` being its dtype, could not hold the factor exactly.
LayerRecipe upcycle_layer(const Sources& sources, std::int64_t layer, const LayerOptions& options,
                          const std::vector<float>& rows, DType written);

}  // namespace moebius

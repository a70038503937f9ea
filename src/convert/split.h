// Splitting: the neurons of a dense FFN are divided among experts, so that a token passes fewer of
// them. Chosen experts are summed with weight one; with all of them chosen the layer is the dense
// FFN. Neurons that answer most of all may become a shared part (Pei et al., 2025, CMoE).
#pragma once

#include "convert/calibrate.h"

namespace moebius {

/// E experts and N shared expert widths out of one FFN, from what it does on calibration text (not
/// looked at by a random partition). `rows` is the router, [E, D]; empty where it is linear or by
/// neurons, which are made here. Widths differ by at most one neuron; the
/// shorter ones end in a neuron of zeros. A bias of down is added once.
LayerRecipe split_layer(const FfnTrace& trace, const LayerOptions& options,
                        const std::vector<float>& rows, std::uint64_t seed);

}  // namespace moebius

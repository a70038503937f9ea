// Splitting: the neurons of a dense FFN are divided among experts, so that a token uses fewer of
// them. Chosen experts are summed with weight one; with all of them chosen the layer is the dense
// FFN. Neurons with the largest contributions may form a shared expert (Pei et al., 2025, CMoE).
#pragma once

#include "convert/calibrate.h"

namespace moebius {

/// Divides one FFN into E experts and a shared expert of N such widths, by its activations on
/// calibration text (ignored by a random partition). `rows` is the router, [E, D]; empty for linear
/// routers and those by neurons, which are fitted here. Widths differ by at most one neuron; the
/// narrower experts are padded with a neuron of zeros. The bias of down is added once.
LayerRecipe split_layer(const FfnTrace& trace, const LayerOptions& options,
                        const std::vector<float>& rows, std::uint64_t seed);

}  // namespace moebius

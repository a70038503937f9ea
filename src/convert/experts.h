// Mixtures of experts in: more experts, or fewer.
#pragma once

#include "convert/calibrate.h"

namespace moebius {

/// E experts become `options.experts`, K stays: copies of the experts in turn, with noise if asked.
/// A copy's router row is its expert's, and of each pair of copies one is raised where the other is
/// lowered, along a random direction: a token that went to an expert goes to one of its copies.
LayerRecipe expand_layer(const Source& source, std::int64_t layer, const LayerOptions& options,
                         std::uint64_t seed);

/// The `options.experts` experts that got most tokens of the trace stay.
LayerRecipe prune_layer(const Source& source, const FfnTrace& trace, const LayerOptions& options);

/// The `options.experts` experts that got most tokens take in the others, each the one whose
/// scores over the trace's tokens go most with its own; their weights become a mean, by tokens
/// (Li et al., 2024, Merge, then compress; without its alignment of neurons). The router rows of
/// those that take in stay.
LayerRecipe merge_layer(const Source& source, const FfnTrace& trace, const LayerOptions& options);

}  // namespace moebius

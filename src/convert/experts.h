// Conversion of MoE layers to another number of experts.
#pragma once

#include "convert/calibrate.h"

namespace moebius {

/// More experts, `options.experts`, same K: copies of the experts in turn, with `options.noise`. Of
/// each pair of copies, a random direction is added to one router row and subtracted from the
/// other, so that a token of the original expert is routed to one of them.
LayerRecipe expand_layer(const Source& source, std::int64_t layer, const LayerOptions& options,
                         std::uint64_t seed);

/// Keeps the `options.experts` experts that got most tokens of the trace.
LayerRecipe prune_layer(const Source& source, const FfnTrace& trace, const LayerOptions& options);

/// Keeps the `options.experts` experts that got most tokens and merges each other expert into the
/// one whose scores over the trace's tokens correlate most with its own; weights are averaged by
/// token counts (Li et al., 2024, Merge, then compress; without its alignment of neurons). Router
/// rows of the kept experts stay.
LayerRecipe merge_layer(const Source& source, const FfnTrace& trace, const LayerOptions& options);

}  // namespace moebius

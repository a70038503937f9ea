// A model made ready for the kernels of the CPU.
#pragma once

#include <vector>

#include "kernels/attention.h"
#include "kernels/grouped_ffn.h"
#include "kernels/routing.h"
#include "model/load.h"
#include "model/rope.h"

namespace moebius {

/// What a layer needs beside its weights.
struct CpuLayer {
  std::vector<PackedWeight>
      scores;  ///< of the router in f32, one matrix, or gate and up of neurons
  std::vector<PackedWeight> shared_gate;  ///< none, or one [1, D] in f32
  /// With latents, of each head [R, N] and [V, R]: from a query to latents, from those to values.
  std::vector<PackedWeight> absorbed;
  kernels::RoutingRule rule;          ///< its factor counts the residual's multiplier
  std::vector<kernels::FfnJob> ffns;  ///< experts, then a shared part; or the FFN; without rows
};

/// Neighbours along K that share a scale. With 64 the dot products of int8 wait less for what each
/// group costs beside them, and 8 bits lose nothing by it that activations in 8 bits do not.
constexpr std::int64_t group_of(kernels::PackedType type) {
  return type == kernels::PackedType::int8 ? 64 : 32;
}

/// Packs what is not packed yet: as `type`, attention, FFNs, experts, head, ways through latents, a
/// tied head as a copy beside the embedding. All else becomes f32, but for the embedding. Throws
/// Error if the memory does not suffice.
void pack_weights(Weights& weights, kernels::PackedType type, Executor& executor);

struct CpuModel {
  /// Packs the weights. Keys and values are kept as `cache`, f32, bf16 or int8.
  CpuModel(Model model, kernels::PackedType type, kernels::PackedType cache, Executor& executor);

  ModelSpec spec;
  Weights weights;
  kernels::KvLayout kv;  ///< of a layer
  std::vector<CpuLayer> layers;
  RotaryAngles angles;

  /// Bytes that all layers take of a page.
  std::int64_t page_bytes() const { return kv.bytes() * static_cast<std::int64_t>(layers.size()); }
  /// Of packed weights.
  std::int64_t packed_bytes() const;

 private:
  CpuLayer layer_of(const LayerSpec& layer, const LayerWeights& w, WeightPacker& packer) const;
};

}  // namespace moebius

// What the converted checkpoint holds, and from which bytes of the source each tensor comes.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/index.h"
#include "checkpoint/writer.h"
#include "config/families.h"
#include "convert/run.h"

namespace moebius {

/// A tensor of the output: a copy of a source tensor, with noise on copies that are experts, or
/// bytes that were made here (routers).
struct OutputTensor {
  TensorMeta meta;
  const TensorEntry* source = nullptr;
  std::int64_t expert = -1;      ///< for noise; -1 for tensors that stay bit-identical
  std::vector<std::byte> bytes;  ///< where `source` is null
};

struct OutputPlan {
  ModelSpec spec;        ///< of the output
  std::string config;    ///< config.json
  std::string modeling;  ///< modeling_moebius.py; empty where transformers has a class of its own
  std::vector<OutputTensor> tensors;
};

/// The opened source of a conversion.
struct Source {
  fs::path directory;
  ModelSpec spec;
  CheckpointIndex index;
  std::vector<BoundTensor> bound;

  explicit Source(const fs::path& directory);
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  /// The tensor that holds exactly `slots`; throws Error if there is none.
  const TensorEntry& holding(const std::vector<std::string>& slots) const;
  /// Null where the model has no such slot.
  const TensorEntry* find_slot(const std::string& slot) const;
};

/// `layers` become MoEs of `options.experts` and `options.top_k`, all others stay.
ModelSpec converted_spec(const ModelSpec& source, const std::vector<std::int64_t>& layers,
                         const ConvertOptions& options);

/// Router of one converted layer, [E, D] in f32.
std::vector<float> make_router(const Source& source, std::int64_t layer,
                               const ConvertOptions& options, std::uint64_t seed);

OutputPlan plan_output(const Source& source, const std::vector<std::int64_t>& layers,
                       const ConvertOptions& options, std::uint64_t seed);

/// config.json of the output, and the modelling code where transformers has no class for it. Sets
/// family and overlay of `spec`.
void describe_output(const Source& source, ModelSpec& spec, OutputPlan& plan);

}  // namespace moebius

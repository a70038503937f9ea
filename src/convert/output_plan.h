// The tensors of the output, and the bytes of the sources or the computation that each comes from.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/writer.h"
#include "config/families.h"
#include "convert/convert_options.h"
#include "convert/recipe.h"

namespace moebius {

/// A contiguous part of an output tensor: a source tensor, or bytes that are computed on demand.
struct TensorPart {
  const TensorEntry* source = nullptr;
  std::function<std::vector<std::byte>()> make;  ///< where `source` is null
  std::size_t bytes = 0;
};

/// A tensor of the output as the concatenation of its parts.
struct OutputTensor {
  FileTensor wanted;
  DType dtype = DType::f32;
  std::vector<TensorPart> parts;
};

struct OutputPlan {
  ModelSpec spec;        ///< of the output
  std::string config;    ///< config.json
  std::string modeling;  ///< modeling_moebius.py; empty where transformers has a class of its own
  std::vector<OutputTensor> tensors;
};

/// An opened source of a conversion.
struct Source {
  fs::path directory;
  DirectoryState files;  ///< before any was read
  Checkpoint checkpoint;
  const ModelSpec& spec = checkpoint.spec;
  const CheckpointIndex& index = checkpoint.index;
  const std::vector<BoundTensor>& bound = checkpoint.bound;

  Source(const fs::path& directory, const Log& log);
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  /// The weight in `slot`, of one expert if the slot is of experts. Throws Error if no tensor holds
  /// it.
  WeightSlice slice(const std::string& slot, std::int64_t expert = -1) const;
  bool holds(const std::string& slot) const;
  /// The stored tensor of exactly the slots and expert of `wanted`; null if they are stored as
  /// several tensors, or as a part of one.
  const BoundTensor* same_tensor(const FileTensor& wanted) const;

 private:
  /// By slot and expert; -1 if one tensor holds all.
  std::map<std::pair<std::string, std::int64_t>, const BoundTensor*> by_slot_;
};

/// The model that is converted, and models of the same shape whose FFNs become experts too.
using Sources = std::deque<Source>;

/// The dtype in which a tensor of dtype `stored` is written.
DType output_dtype(const ConvertOptions& options, DType stored);

/// The output: `layers` computed by `recipes`, all other weights as in the first source, or the
/// average of all with `--rest average`. The plan refers to sources and recipes.
OutputPlan plan_output(const Sources& sources, const std::vector<std::int64_t>& layers,
                       const Recipes& recipes, const ConvertOptions& options, const Context& ctx);

/// The model before its layers are converted, in the source's layout and dtype.
OutputPlan plan_source(const Sources& sources, const ConvertOptions& options, const Context& ctx);

/// Sets config.json of the output, and the modelling code if transformers has no class for it, and
/// family and overlay of `spec`.
void describe_output(const Source& source, ModelSpec& spec, OutputPlan& plan);

/// Whether the class in transformers that a model of `spec` can become has a gate on its shared
/// expert.
bool shares_by_gate(const ModelSpec& spec);

}  // namespace moebius

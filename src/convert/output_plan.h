// What the converted checkpoint holds, and from which bytes of the sources each tensor comes.
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

/// A stretch of an output tensor: a source tensor as it is, or bytes that are made when wanted.
struct TensorPart {
  const TensorEntry* source = nullptr;
  std::function<std::vector<std::byte>()> make;  ///< where `source` is null
  std::size_t bytes = 0;
};

/// A tensor of the output: its parts, one after the other.
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
  /// What `slot` is, of the expert of this number where the slot belongs to experts. Throws Error
  /// if no tensor holds it.
  WeightSlice slice(const std::string& slot, std::int64_t expert = -1) const;
  bool holds(const std::string& slot) const;
  /// The stored tensor of exactly the slots and expert of `wanted`; null if they are stored as
  /// several tensors, or as a part of one.
  const BoundTensor* same_tensor(const FileTensor& wanted) const;

 private:
  /// By slot and expert, -1 where one tensor holds them all.
  std::map<std::pair<std::string, std::int64_t>, const BoundTensor*> by_slot_;
};

/// The model that is converted, and models of the same shape whose FFNs become experts too.
using Sources = std::deque<Source>;

/// In which dtype a tensor that is stored as `stored` is written.
DType output_dtype(const ConvertOptions& options, DType stored);

/// The output in which `layers` are made by `recipes` and all else stays, or is the average of the
/// sources with `--rest average`. The plan refers to both sources and recipes.
OutputPlan plan_output(const Sources& sources, const std::vector<std::int64_t>& layers,
                       const Recipes& recipes, const ConvertOptions& options, const Context& ctx);

/// The first source as it is stored, but for `--rest average`: what the output is compared with.
OutputPlan plan_source(const Sources& sources, const ConvertOptions& options, const Context& ctx);

/// config.json of the output, and the modelling code where transformers has no class for it. Sets
/// family and overlay of `spec`, and the dtype in config.json.
void describe_output(const Source& source, ModelSpec& spec, OutputPlan& plan);

/// Whether the class in transformers that a model of `spec` can become weighs its shared expert by
/// a gate.
bool shares_by_gate(const ModelSpec& spec);

}  // namespace moebius

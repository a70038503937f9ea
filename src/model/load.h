// Weights of checkpoints as tensors, and tensors as checkpoints.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/context.h"
#include "checkpoint/checkpoint.h"
#include "model/decoder.h"

namespace moebius {

at::ScalarType to_torch(DType dtype);
DType from_torch(at::ScalarType dtype);

/// A view of a mapped tensor; it keeps the mapping alive. Must not be written to.
at::Tensor map_tensor(const TensorEntry& entry);

/// A tensor of a file and its description.
struct StoredTensor {
  const FileTensor& what;
  at::Tensor tensor;
};
/// Weights from stored tensors; slots that no tensor holds stay empty. Experts at equal distances
/// in memory, or that are all one tensor, become views.
Weights gather_weights(const ModelSpec& spec, const std::vector<StoredTensor>& tensors);

/// The weights of a checkpoint as views of its mapped files wherever a view can serve: only experts
/// that do not lie at equal distances are copied.
Weights map_weights(const ModelSpec& spec, const CheckpointIndex& index);
Weights map_weights(const ModelSpec& spec, const std::vector<BoundTensor>& bound);

/// A model that is ready to compute with.
struct Model {
  ModelSpec spec;
  Weights weights;
};

/// The model in a directory, as views of its files; `open_checkpoint` says what is checked and what
/// `log` is told.
Model map_model(const fs::path& directory, const Log& log);

/// Moves to `device` and `dtype`; empty: as stored, f16 as f32. Weights that need no change stay.
void move_weights(Weights& weights, std::optional<DType> dtype, at::Device device);

/// `map_model`, then `move_weights`: weights that need no change of dtype or device stay views.
Model load_model(const fs::path& directory, std::optional<DType> dtype, at::Device device,
                 const Log& log = Log(LogLevel::warn));

/// Initial weights: matrices normal(0, initializer_range), those that write into the residual
/// stream divided by sqrt(2 layers) (GPT-2), norms 1, biases 0. The same seed gives the same
/// weights.
Weights init_weights(const ModelSpec& spec, std::uint64_t seed);

/// Contiguous copies in `dtype`, buffers in f32, for use as parameters in training.
Weights copy_weights(const Weights& weights, at::ScalarType dtype, at::Device device);

/// Writes the weights, sharded, under the family's names and in `spec.expert_layout`.
void save_weights(const ModelSpec& spec, const Weights& weights, DType dtype,
                  const fs::path& directory, std::size_t max_shard_bytes);

/// Bytes of all weights of this model at `dtype`.
std::int64_t weight_bytes(const ModelSpec& spec, DType dtype);

}  // namespace moebius

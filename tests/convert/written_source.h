// Sources of conversions: small random models, written and opened, and what an output plan makes.
#pragma once

#include <ATen/ATen.h>

#include <deque>

#include "base/support.h"
#include "convert/output_plan.h"
#include "model/random_model.h"

namespace moebius::support {

/// Random models of one configuration, with different weights, in directories of their own.
class WrittenSources {
 public:
  explicit WrittenSources(const Json& config) : config_(config) {}
  WrittenSources(const Json& config, ExpertLayout layout) : config_(config) { add(layout); }

  const Model& add(ExpertLayout layout = ExpertLayout::usual, DType dtype = DType::f32) {
    const TempDir& dir = dirs_.emplace_back();
    Model& model = models_.emplace_back(random_model(config_, 1 + models_.size()));
    model.spec.expert_layout = layout;
    dir.write("config.json", config_.dump());
    save_weights(model.spec, model.weights, dtype, dir.path(), SIZE_MAX);
    sources.emplace_back(dir.path(), Log(LogLevel::off));
    return model;
  }
  const Model& model(std::size_t n = 0) const { return models_[n]; }
  const Source& first() const { return sources.front(); }

  Sources sources;

 private:
  Json config_;
  std::deque<TempDir> dirs_;
  std::deque<Model> models_;
};

/// An output tensor as it will be written.
inline at::Tensor tensor_of(const OutputTensor& output) {
  std::vector<std::byte> bytes;
  for (const TensorPart& part : output.parts) {
    if (part.source != nullptr) {
      bytes.insert(bytes.end(), part.source->data, part.source->data + part.bytes);
    } else {
      const std::vector<std::byte> made = part.make();
      EXPECT_EQ(made.size(), part.bytes) << output.wanted.name;
      bytes.insert(bytes.end(), made.begin(), made.end());
    }
  }
  return at::from_blob(bytes.data(), output.wanted.shape, to_torch(output.dtype)).clone();
}

inline const OutputTensor& output_named(const OutputPlan& plan, const std::string& name) {
  for (const OutputTensor& tensor : plan.tensors) {
    if (tensor.wanted.name == name) return tensor;
  }
  fail("the plan has no {}", name);
}

/// The model that a plan describes.
inline Weights weights_of(const OutputPlan& plan) {
  std::vector<StoredTensor> tensors;
  for (const OutputTensor& output : plan.tensors) {
    tensors.push_back({output.wanted, tensor_of(output)});
  }
  return gather_weights(plan.spec, tensors);
}

/// The matrix that a slot of `source` holds, as [rows, columns]; of one expert where `expert` >= 0.
inline at::Tensor stored(const Source& source, const std::string& slot, std::int64_t expert = -1) {
  const WeightSlice slice = source.slice(slot, expert);
  at::Tensor tensor = at::empty(slice.shape, at::kFloat);
  for (std::size_t i = 0; i < slice.elements(); ++i) {
    tensor.mutable_data_ptr<float>()[i] = slice[i];
  }
  return slice.transposed ? tensor.t() : tensor;
}

}  // namespace moebius::support

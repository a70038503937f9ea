// Inference with LibTorch's operations on the weights' own device.
#pragma once

#include <ATen/core/Tensor.h>

#include "infer/backends/inference_model.h"
#include "model/decoder.h"
#include "model/load.h"

namespace moebius {

/// The type of activations: bf16 for bf16 weights, else f32.
at::ScalarType compute_dtype(const Weights& weights);

/// Scores after the last of `ids`, computed by tensors on the CPU in f32.
std::vector<float> plain_scores(const Model& model, std::span<const std::int32_t> ids);

/// A KV cache of contiguous tensors, whose capacity grows by doubling.
class TensorCache : public SequenceCache {
 public:
  TensorCache(const ModelSpec& spec, const at::TensorOptions& options)
      : spec_(spec), options_(options) {}

  void truncate(std::int64_t length) override {
    length_ = tensors_.length = std::min(length_, length);
  }
  std::unique_ptr<SequenceCache> fork(std::int64_t length) override;
  void make_room(std::int64_t count);
  KvCache& tensors() { return tensors_; }
  void advance(std::int64_t count) { tensors_.length = length_ += count; }

 private:
  const ModelSpec& spec_;
  at::TensorOptions options_;
  KvCache tensors_;
};

class TensorInference : public InferenceModel {
 public:
  explicit TensorInference(Model model);

  const ModelSpec& spec() const override { return model_.spec; }
  std::unique_ptr<SequenceCache> make_cache() override {
    return std::make_unique<TensorCache>(model_.spec, options_);
  }
  std::int64_t cache_bytes(std::int64_t tokens) const override;
  const Weights& weights() const override { return model_.weights; }
  std::int64_t weight_bytes() const override;
  std::string_view weights_name() const override;
  std::span<float> run(std::span<const SequencePart> parts, RoutingRecorder* recorder) override;
  std::vector<float> reference_scores(std::span<const std::int32_t> ids) override;
  [[noreturn]] void fail_where_not_finite(std::span<const std::int32_t> ids) override;

 protected:
  at::ScalarType dtype() const { return c10::typeMetaToScalarType(options_.dtype()); }
  at::Device device() const { return options_.device(); }
  /// The cache of a part, with room for its tokens. Throws Error for more than the context.
  TensorCache& room_for(const SequencePart& part) const;
  /// Runs one part, whose tokens are rows from `first_row` on of the pass. Returns the wanted
  /// scores [rows, V], or an undefined tensor.
  template <class Ops>
  at::Tensor scores_of(const SequencePart& part, std::int64_t first_row,
                       RoutingRecorder* recorder) const {
    TensorCache& cache = room_for(part);
    const auto count = std::ssize(part.ids);
    Ops ops(model_.spec, count, dtype(), device(), &cache.tensors());
    const at::Tensor x = graph::decode(ops, model_.weights, ids_tensor(part.ids).to(device()));
    cache.advance(count);
    record(ops.routings(), first_row, {}, recorder);
    if (part.scores == Scores::none) return {};
    const at::Tensor rows = part.scores == Scores::all ? x : x.narrow(1, count - 1, 1);
    return logits_of(graph::head(ops, model_.weights, rows)[0]);
  }
  /// The output of the head in f32, divided by the model's divisor.
  at::Tensor logits_of(const at::Tensor& undivided) const;
  /// Tells `recorder`, unless it is null, of the routings of all MoE layers; rows as in
  /// `RoutingRecorder::add`.
  void record(const std::vector<Routing>& routings, std::int64_t first_row,
              std::span<const std::int64_t> rows_T, RoutingRecorder* recorder) const;
  void begin_pass(std::span<const SequencePart> parts, RoutingRecorder* recorder) const;
  /// Concatenates the scores of parts, where they are defined, in host memory.
  std::span<float> to_host(const std::vector<at::Tensor>& scores);

  Model model_;
  at::TensorOptions options_;  ///< of activations

 private:
  at::Tensor scores_;
};

}  // namespace moebius

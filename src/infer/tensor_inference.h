// Models whose weights stay tensors, wherever they lie.
#pragma once

#include <ATen/core/Tensor.h>

#include "infer/inference.h"
#include "model/decoder.h"
#include "model/load.h"
#include "moe/routing_sums.h"

namespace moebius {

/// bf16 where the weights are, else f32.
at::ScalarType compute_dtype(const Weights& weights);

/// Scores after the last of `ids` by tensors on the CPU, in f32.
std::vector<float> plain_scores(const Model& model, std::span<const std::int32_t> ids);

/// Keys and values as tensors. They grow by doubling, since a conversation goes on.
class TensorCache : public SequenceCache {
 public:
  TensorCache(const ModelSpec& spec, const at::TensorOptions& options)
      : spec_(spec), options_(options) {}

  void truncate(std::int64_t length) override {
    length_ = tensors_.length = std::min(length_, length);
  }
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
  std::span<float> run(std::span<const SequencePart> parts, RoutingSums* sums) override;
  std::vector<float> reference_scores(std::span<const std::int32_t> ids) override;
  [[noreturn]] void fail_where_not_finite(std::span<const std::int32_t> ids) override;

 protected:
  at::ScalarType dtype() const { return c10::typeMetaToScalarType(options_.dtype()); }
  at::Device device() const { return options_.device(); }
  /// The cache of a part, with room for its tokens. Throws Error for more than the context.
  TensorCache& room_for(const SequencePart& part) const;
  /// A pass over a part; the scores [rows, V] that are wanted of it, or undefined.
  template <class Ops>
  at::Tensor scores_of(const SequencePart& part, RoutingSums* sums) const {
    TensorCache& cache = room_for(part);
    const auto count = std::ssize(part.ids);
    Ops ops(model_.spec, count, dtype(), device(), &cache.tensors());
    const at::Tensor x = graph::decode(ops, model_.weights, ids_tensor(part.ids).to(device()));
    cache.advance(count);
    if (sums != nullptr) add_routings(ops.routings(), count, *sums);
    if (part.scores == Scores::none) return {};
    const at::Tensor rows = part.scores == Scores::all ? x : x.narrow(1, count - 1, 1);
    return logits_of(graph::head(ops, model_.weights, rows)[0]);
  }
  /// What a head gives as f32, divided as the model says.
  at::Tensor logits_of(const at::Tensor& undivided) const;
  void add_routings(const std::vector<Routing>& routings, std::int64_t tokens,
                    RoutingSums& sums) const;
  /// The scores of parts, where they are defined, one below the other on the CPU.
  std::span<float> give(const std::vector<at::Tensor>& scores);

  Model model_;
  at::TensorOptions options_;  ///< of activations

 private:
  at::Tensor scores_;
};

}  // namespace moebius

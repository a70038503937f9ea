#include <ATen/ATen.h>

#include "infer/inference.h"
#include "model/decoder.h"
#include "model/load.h"

namespace moebius {
namespace {

/// bf16 where the weights are, else f32.
at::ScalarType compute_dtype(const Weights& weights) {
  return weights.embed.plain().scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
}

/// Grows by doubling, since a conversation goes on.
class TensorCache : public SequenceCache {
 public:
  TensorCache(const ModelSpec& spec, const at::TensorOptions& options)
      : spec_(spec), options_(options) {}

  void truncate(std::int64_t length) override {
    length_ = tensors_.length = std::min(length_, length);
  }
  /// With room for `count` more tokens.
  KvCache& next(std::int64_t count) {
    const std::int64_t needed = length_ + count;
    if (tensors_.capacity >= needed) return tensors_;
    const std::int64_t capacity = std::max(needed, std::min(2 * tensors_.capacity, spec_.context));
    KvCache larger = moebius::make_cache(spec_, 1, capacity, options_);
    larger.length = length_;
    for (std::size_t l = 0; l < tensors_.layers.size(); ++l) {
      const auto copy = [&](const at::Tensor& from, const at::Tensor& to) {
        to.narrow(1, 0, length_).copy_(from.narrow(1, 0, length_));
      };
      copy(tensors_.layers[l].k, larger.layers[l].k);
      copy(tensors_.layers[l].v, larger.layers[l].v);
    }
    tensors_ = std::move(larger);
    return tensors_;
  }
  void advance(std::int64_t count) { length_ += count; }

 private:
  const ModelSpec& spec_;
  at::TensorOptions options_;
  KvCache tensors_;
};

class TensorInference : public InferenceModel {
 public:
  explicit TensorInference(Model model)
      : model_(std::move(model)),
        options_(at::TensorOptions(compute_dtype(model_.weights))
                     .device(model_.weights.embed.plain().device())) {}

  const ModelSpec& spec() const override { return model_.spec; }
  std::unique_ptr<SequenceCache> make_cache() override {
    return std::make_unique<TensorCache>(model_.spec, options_);
  }
  std::int64_t cache_bytes(std::int64_t tokens) const override {
    const auto& latent = model_.spec.latent;
    const std::int64_t width = latent ? latent->rope_dim + latent->kv_rank
                                      : 2 * model_.spec.kv_heads * model_.spec.head_dim;
    return tokens * width * std::ssize(model_.spec.layers) *
           static_cast<std::int64_t>(c10::elementSize(dtype()));
  }
  const Weights& weights() const override { return model_.weights; }
  std::string_view weights_name() const override {
    return dtype() == at::kBFloat16 ? "bf16" : "f32";
  }
  std::vector<float> reference_scores(std::span<const std::int32_t> ids) override {
    const at::InferenceMode inference;
    const Weights f32 = copy_weights(model_.weights, at::kFloat, at::kCPU);
    const at::Tensor hidden =
        decode(model_.spec, f32, ids_tensor(ids), nullptr, at::kFloat).hidden_BSD;
    const at::Tensor scores =
        head(model_.spec, f32, hidden.narrow(1, hidden.size(1) - 1, 1)).contiguous();
    const auto* values = scores.const_data_ptr<float>();
    return {values, values + scores.numel()};
  }
  std::int64_t weight_bytes() const override {
    std::int64_t bytes = 0;
    for_each_weight(
        [&](const std::string&, const Weight& w) {
          if (w.defined()) bytes += static_cast<std::int64_t>(w.plain().nbytes());
        },
        model_.weights);
    return bytes;
  }

  std::span<float> run(std::span<const SequencePart> parts, RoutingSums* sums) override {
    const at::InferenceMode inference;
    std::vector<at::Tensor> scores;
    for (const SequencePart& part : parts) {
      auto& cache = static_cast<TensorCache&>(*part.cache);
      const auto count = std::ssize(part.ids);
      const at::Tensor ids = ids_tensor(part.ids).to(options_.device());
      const DecoderOutput out =
          decode(model_.spec, model_.weights, ids, &cache.next(count), dtype());
      cache.advance(count);
      if (sums != nullptr) add_routings(out.routings, count, *sums);
      if (part.scores == Scores::none) continue;
      const at::Tensor rows =
          part.scores == Scores::all ? out.hidden_BSD : out.hidden_BSD.narrow(1, count - 1, 1);
      scores.push_back(head(model_.spec, model_.weights, rows)[0].to(at::kCPU));
    }
    if (scores.empty()) return {};
    scores_ = at::cat(scores).contiguous();
    return {scores_.mutable_data_ptr<float>(), static_cast<std::size_t>(scores_.numel())};
  }

  [[noreturn]] void fail_where_not_finite(std::span<const std::int32_t> ids) override {
    const at::InferenceMode inference;
    TensorOps ops(model_.spec, std::ssize(ids), dtype(), options_.device());
    graph::fail_where_not_finite(ops, model_.weights, ids_tensor(ids).to(options_.device()));
  }

 private:
  at::ScalarType dtype() const { return c10::typeMetaToScalarType(options_.dtype()); }

  void add_routings(const std::vector<Routing>& routings, std::int64_t tokens,
                    RoutingSums& sums) const {
    sums.layers.resize(model_.spec.layers.size());
    sums.tokens += tokens;
    auto routing = routings.begin();
    for (std::size_t l = 0; l < model_.spec.layers.size(); ++l) {
      if (!model_.spec.layers[l].moe) continue;
      const std::int64_t experts = routing->logits_TE.size(1);
      const at::Tensor counts =
          at::bincount(routing->ids_TK.flatten(), {}, experts).to(at::kCPU, at::kDouble);
      const at::Tensor log_p = at::log_softmax(routing->logits_TE, -1);
      RoutingSums::Layer& layer = sums.layers[l];
      layer.visits += counts.count_nonzero().item<double>();
      layer.tokens_E.resize(static_cast<std::size_t>(experts));
      for (std::int64_t e = 0; e < experts; ++e) {
        layer.tokens_E[static_cast<std::size_t>(e)] += counts[e].item<double>();
      }
      layer.entropy -= (log_p.exp() * log_p).sum(at::kDouble).item<double>();
      ++routing;
    }
  }

  Model model_;
  at::TensorOptions options_;
  at::Tensor scores_;
};

}  // namespace

std::unique_ptr<InferenceModel> tensor_inference(Model model) {
  return std::make_unique<TensorInference>(std::move(model));
}

}  // namespace moebius

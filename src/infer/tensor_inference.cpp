#include "infer/tensor_inference.h"

#include <ATen/ATen.h>

namespace moebius {

void TensorCache::make_room(std::int64_t count) {
  const std::int64_t needed = length_ + count;
  if (tensors_.capacity >= needed) return;
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
}

TensorInference::TensorInference(Model model)
    : model_(std::move(model)),
      options_(at::TensorOptions(compute_dtype(model_.weights))
                   .device(model_.weights.embed.plain().device())) {}

std::int64_t TensorInference::cache_bytes(std::int64_t tokens) const {
  const auto& latent = model_.spec.latent;
  const std::int64_t width =
      latent ? latent->rope_dim + latent->kv_rank : 2 * model_.spec.kv_heads * model_.spec.head_dim;
  return tokens * width * std::ssize(model_.spec.layers) *
         static_cast<std::int64_t>(c10::elementSize(dtype()));
}

std::string_view TensorInference::weights_name() const {
  return dtype() == at::kBFloat16 ? "bf16" : "f32";
}

std::int64_t TensorInference::weight_bytes() const {
  std::int64_t bytes = 0;
  for_each_weight(
      [&](const std::string&, const Weight& w) {
        if (!w.defined()) return;
        bytes += w.packed() != nullptr ? w.packed()->bytes()
                                       : static_cast<std::int64_t>(w.plain().nbytes());
      },
      model_.weights);
  return bytes;
}

std::span<float> TensorInference::run(std::span<const SequencePart> parts, RoutingSums* sums) {
  const at::InferenceMode inference;
  std::vector<at::Tensor> scores;
  for (const SequencePart& part : parts) scores.push_back(scores_of<TensorOps>(part, sums));
  return give(scores);
}

std::vector<float> TensorInference::reference_scores(std::span<const std::int32_t> ids) {
  const at::InferenceMode inference;
  return plain_scores({model_.spec, copy_weights(model_.weights, at::kFloat, at::kCPU)}, ids);
}

void TensorInference::fail_where_not_finite(std::span<const std::int32_t> ids) {
  const at::InferenceMode inference;
  TensorOps ops(model_.spec, std::ssize(ids), dtype(), device());
  graph::fail_where_not_finite(ops, model_.weights, ids_tensor(ids).to(device()));
}

TensorCache& TensorInference::room_for(const SequencePart& part) const {
  auto& cache = static_cast<TensorCache&>(*part.cache);
  const std::int64_t tokens = cache.length() + std::ssize(part.ids);
  if (tokens > model_.spec.context) {
    fail("{} tokens, but the context is {}", tokens, model_.spec.context);
  }
  cache.make_room(std::ssize(part.ids));
  return cache;
}

at::Tensor TensorInference::logits_of(const at::Tensor& undivided) const {
  const at::Tensor logits = undivided.to(at::kFloat);
  return model_.spec.logits_divisor == 1.0 ? logits : logits / model_.spec.logits_divisor;
}

void TensorInference::add_routings(const std::vector<Routing>& routings, std::int64_t tokens,
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

std::span<float> TensorInference::give(const std::vector<at::Tensor>& scores) {
  std::vector<at::Tensor> wanted;
  for (const at::Tensor& each : scores) {
    if (each.defined()) wanted.push_back(each);
  }
  if (wanted.empty()) return {};
  scores_ = (wanted.size() == 1 ? wanted[0] : at::cat(wanted)).to(at::kCPU).contiguous();
  return {scores_.mutable_data_ptr<float>(), static_cast<std::size_t>(scores_.numel())};
}

at::ScalarType compute_dtype(const Weights& weights) {
  return weights.embed.plain().scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
}

std::vector<float> plain_scores(const Model& model, std::span<const std::int32_t> ids) {
  const at::Tensor hidden =
      decode(model.spec, model.weights, ids_tensor(ids), nullptr, at::kFloat).hidden;
  const at::Tensor scores =
      head(model.spec, model.weights, hidden.narrow(1, hidden.size(1) - 1, 1)).contiguous();
  const auto* values = scores.const_data_ptr<float>();
  return {values, values + scores.numel()};
}

std::unique_ptr<InferenceModel> tensor_inference(Model model) {
  return std::make_unique<TensorInference>(std::move(model));
}

}  // namespace moebius

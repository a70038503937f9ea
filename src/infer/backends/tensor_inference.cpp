#include "infer/backends/tensor_inference.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "moe/host_routing.h"

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

std::unique_ptr<SequenceCache> TensorCache::fork(std::int64_t length) {
  const at::InferenceMode inference;
  auto out = std::make_unique<TensorCache>(spec_, options_);
  const std::int64_t tokens = std::min(length, length_);
  out->make_room(tokens);
  for (std::size_t l = 0; l < tensors_.layers.size(); ++l) {
    const auto copy = [&](const at::Tensor& from, const at::Tensor& to) {
      to.narrow(1, 0, tokens).copy_(from.narrow(1, 0, tokens));
    };
    copy(tensors_.layers[l].k, out->tensors_.layers[l].k);
    copy(tensors_.layers[l].v, out->tensors_.layers[l].v);
  }
  out->advance(tokens);
  // Passes may run on another stream than this copy.
  const at::Device device = options_.device();
  if (!device.is_cpu()) {
    c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
  }
  return out;
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

std::span<float> TensorInference::run(std::span<const SequencePart> parts,
                                      RoutingRecorder* recorder) {
  const at::InferenceMode inference;
  begin_pass(parts, recorder);
  std::vector<at::Tensor> scores;
  std::int64_t row = 0;
  for (const SequencePart& part : parts) {
    scores.push_back(scores_of<TensorOps>(part, row, recorder));
    row += std::ssize(part.ids);
  }
  return to_host(scores);
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

void TensorInference::begin_pass(std::span<const SequencePart> parts,
                                 RoutingRecorder* recorder) const {
  if (recorder == nullptr) return;
  std::int64_t rows = 0;
  for (const SequencePart& part : parts) rows += std::ssize(part.ids);
  recorder->begin_pass(model_.spec.layers.size(), rows);
}

void TensorInference::record(const std::vector<Routing>& routings, std::int64_t first_row,
                             std::span<const std::int64_t> rows_T,
                             RoutingRecorder* recorder) const {
  if (recorder == nullptr) return;
  auto routing = routings.begin();
  for (std::size_t l = 0; l < model_.spec.layers.size(); ++l) {
    if (!model_.spec.layers[l].moe) continue;
    const HostRouting host = host_routing(*routing++, recorder->wants_entropy());
    recorder->add(l, host.view(), first_row, rows_T);
  }
}

std::span<float> TensorInference::to_host(const std::vector<at::Tensor>& scores) {
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

// Small models with random weights of every family.
#pragma once

#include <ATen/ATen.h>

#include "base/random.h"
#include "config/examples.h"
#include "model/load.h"

namespace moebius::support {

/// Normal numbers that depend on `seed` alone.
inline at::Tensor normal_tensor(at::IntArrayRef sizes, std::uint64_t seed, double deviation = 1.0) {
  at::Tensor tensor = at::empty(sizes, at::kFloat);
  const Random random(seed, 1);
  auto* values = tensor.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    values[i] = static_cast<float>(deviation * random.normal(static_cast<std::uint64_t>(i)));
  }
  return tensor;
}

/// Weights that make every part count: matrices of deviation 0.3, biases of 0.1, norms around 1.
inline Weights random_weights(const ModelSpec& spec, std::uint64_t seed) {
  auto weights = make_weights<Weight>(spec);
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight, const Shape& shape) {
        if (shape.empty()) return;
        const bool bias = slot.ends_with(".bias"), norm = slot.find("norm") != std::string::npos;
        weight = normal_tensor(shape, seed ^ stream_of(slot), bias || norm ? 0.1 : 0.3);
        if (norm && !bias) weight += 1.0;
      },
      weights, shapes);
  return weights;
}

inline Model random_model(const Json& config, std::uint64_t seed = 1) {
  Model model;
  model.spec = examples::spec_of(config);
  model.weights = random_weights(model.spec, seed);
  return model;
}

/// Every family, overlays of the dense ones, Granite's multipliers, a window, OPT's odd one.
inline std::vector<Json> all_configs() {
  std::vector<Json> configs;
  for (const std::string& family : examples::all_families) {
    configs.push_back(examples::config_of(family));
  }
  configs.push_back(examples::overlay_of("llama"));
  configs.push_back(examples::overlay_of("gpt2"));
  Json granite = examples::llama_like("granitemoe");
  granite.update({{"embedding_multiplier", 3.0},
                  {"attention_multiplier", 0.4},
                  {"residual_multiplier", 0.7},
                  {"logits_scaling", 2.0},
                  {"tie_word_embeddings", true},
                  {"attention_bias", true}});
  configs.push_back(granite);
  Json window = examples::llama_like("mistral");
  window["sliding_window"] = 4;
  configs.push_back(window);
  Json opt_350m = examples::opt();
  opt_350m.update({{"do_layer_norm_before", false}, {"word_embed_proj_dim", 6}});
  configs.push_back(opt_350m);
  return configs;
}

inline at::Tensor some_ids(std::int64_t batch, std::int64_t count, std::int64_t vocab = 16) {
  at::Tensor ids = at::empty({batch, count}, at::kLong);
  Random random(5, 5);
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    ids.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(random.next_below(static_cast<std::uint64_t>(vocab)));
  }
  return ids;
}

inline at::Tensor logits_of(const Model& model, const at::Tensor& ids_BS) {
  return head(model.spec, model.weights,
              decode(model.spec, model.weights, ids_BS, nullptr, at::kFloat).hidden);
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace moebius::support

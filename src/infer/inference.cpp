#include "infer/inference.h"

#include "model/device.h"
#include "model/load.h"
#include "model/packed_file.h"

namespace moebius {

using kernels::PackedType;

namespace {

/// Checks what can be computed with where.
at::Device device_for(const WeightOptions& options, const Context& ctx) {
  const at::Device device = device_of(ctx);
  if (options.quantised() && !device.is_cpu()) {
    throw UsageError(fmt::format("--weights {} is for the CPU", options.weights),
                     "use --weights bf16");
  }
  if (!options.kv_cache.empty() && !device.is_cpu()) {
    throw UsageError("--kv-cache: is for the CPU",
                     "leave it out: keys and values are as the weights");
  }
  return device;
}

std::optional<PackedType> cache_type(const WeightOptions& options) {
  if (options.kv_cache.empty()) return std::nullopt;
  return packed_type_from(options.kv_cache, "--kv-cache");
}

PackedType packed_type(const std::string& weights, const Model& model) {
  if (!weights.empty()) return packed_type_from(weights, "--weights");
  const bool bf16 = model.weights.embed.plain().scalar_type() == at::kBFloat16;
  return bf16 ? PackedType::bf16 : PackedType::f32;
}

}  // namespace

std::unique_ptr<InferenceModel> inference_of(Model model, const WeightOptions& options,
                                             const Context& ctx) {
  const at::Device device = device_for(options, ctx);
  const std::string& weights = options.weights;
  if (!device.is_cpu()) {
    std::optional<DType> dtype;
    if (!weights.empty()) dtype = dtype_from_config(weights);
    move_weights(model.weights, dtype, device);
    return tensor_inference(std::move(model));
  }
  const PackedType type = packed_type(weights, model);
  return packed_inference(std::move(model), type, ctx.threads, cache_type(options));
}

std::unique_ptr<InferenceModel> open_for_inference(const std::filesystem::path& directory,
                                                   const WeightOptions& options,
                                                   const Context& ctx) {
  const at::Device device = device_for(options, ctx);
  if (has_packed_weights(directory)) {
    if (!device.is_cpu()) {
      throw UsageError(fmt::format("{}: packed weights are for the CPU", directory.string()),
                       "use the model that it was made from");
    }
    auto model = packed_inference(directory, options.verify, ctx.threads, cache_type(options));
    if (!options.weights.empty() && options.weights != model->weights_name()) {
      throw UsageError(fmt::format("--weights {}: {} is packed as {}", options.weights,
                                   directory.string(), model->weights_name()),
                       "leave --weights out, or use the model that it was made from");
    }
    return model;
  }
  // Weights go from the mapped files to where they are computed with; nothing else is ever held.
  Model model{read_model_spec(directory), {}};
  model.weights = map_weights(model.spec, CheckpointIndex::open(directory));
  return inference_of(std::move(model), options, ctx);
}

}  // namespace moebius

#include "infer/backends/inference_model.h"

#include "infer/backends/cuda_inference.h"
#include "model/device.h"
#include "model/load.h"
#include "model/packed_file.h"

namespace moebius {

using kernels::PackedType;

// What holds for caches without pages.

std::int64_t InferenceModel::shared_bytes(std::int64_t) const {
  return 0;
}

std::int64_t InferenceModel::held_bytes(std::span<const SequenceCache* const> caches) const {
  std::int64_t bytes = 0;
  for (const SequenceCache* cache : caches) bytes += cache_bytes(cache->length());
  return bytes;
}

std::int64_t InferenceModel::growth_bytes(const SequenceCache& cache, std::int64_t tokens) const {
  return cache_bytes(tokens) - cache_bytes(cache.length());
}

namespace {

#ifdef MOEBIUS_CUDA_KERNELS
constexpr bool has_cuda_kernels = true;
#else
constexpr bool has_cuda_kernels = false;
#endif

/// Throws UsageError if the program was built without the kernels that `what` needs.
void require_cuda_kernels(const std::string& what) {
  if (has_cuda_kernels) return;
  throw UsageError(
      fmt::format("{} on a GPU needs kernels that this program was built without", what),
      "build it where nvcc is at hand, or use --weights bf16");
}

/// A model of plain or packed weights on a GPU.
std::unique_ptr<InferenceModel> on_gpu(Model model, std::string_view weights, at::Device device) {
#ifdef MOEBIUS_CUDA_KERNELS
  return cuda_inference(std::move(model), weights, device);
#else
  move_weights(model.weights, dtype_from_config(weights), device);
  return tensor_inference(std::move(model));
#endif
}

/// The device, after a check that it supports the options.
at::Device device_for(const WeightOptions& options, const Context& ctx) {
  const at::Device device = device_of(ctx);
  if (device.is_cpu()) return device;
  if (options.quantised()) require_cuda_kernels(fmt::format("--weights {}", options.weights));
  if (!options.kv_cache.empty()) {
    throw UsageError("--kv-cache: is for the CPU",
                     "leave it out: the KV cache has the type of the weights");
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

std::unique_ptr<InferenceModel> open_packed(const std::filesystem::path& directory,
                                            const WeightOptions& options, at::Device device,
                                            int threads) {
  if (device.is_cpu()) {
    return packed_inference(directory, options.verify, threads, cache_type(options));
  }
  require_cuda_kernels(fmt::format("{}: a packed model", directory.string()));
  Executor executor(threads);
  PackedModel packed = load_packed(directory, options.verify, executor);
  if (packed.type != PackedType::int8 && packed.type != PackedType::int4) {
    throw UsageError(fmt::format("{}: weights packed as {} are for the CPU", directory.string(),
                                 name_of(packed.type)),
                     "use the model that it was made from");
  }
  return on_gpu(std::move(packed.model), name_of(packed.type), device);
}

}  // namespace

std::unique_ptr<InferenceModel> inference_of(Model model, const WeightOptions& options,
                                             const Context& ctx) {
  const at::Device device = device_for(options, ctx);
  const PackedType type = packed_type(options.weights, model);
  if (device.is_cpu()) {
    return packed_inference(std::move(model), type, ctx.threads, cache_type(options));
  }
  if (options.quantised()) {
    Executor executor(ctx.threads);
    pack_weights(model.weights, type, executor);
  }
  return on_gpu(std::move(model), name_of(type), device);
}

std::unique_ptr<InferenceModel> open_for_inference(const std::filesystem::path& directory,
                                                   const WeightOptions& options,
                                                   const Context& ctx) {
  const at::Device device = device_for(options, ctx);
  if (has_packed_weights(directory)) {
    auto model = open_packed(directory, options, device, ctx.threads);
    if (!options.weights.empty() && options.weights != model->weights_name()) {
      throw UsageError(fmt::format("--weights {}: {} is packed as {}", options.weights,
                                   directory.string(), model->weights_name()),
                       "leave --weights out, or use the model that it was made from");
    }
    return model;
  }
  // Weights go from the mapped files straight to their device or packed form: no copy between.
  return inference_of(map_model(directory, ctx.log), options, ctx);
}

}  // namespace moebius

#include "convert/upcycle.h"

#include <bit>

#include "base/error.h"

namespace moebius {
namespace {

/// How often each neuron occurs when `slots` positions are filled with all neurons cyclically.
std::vector<std::int64_t> multiplicities(std::int64_t neurons, std::int64_t slots) {
  std::vector<std::int64_t> times(static_cast<std::size_t>(neurons), slots / neurons);
  for (std::int64_t j = 0; j < slots % neurons; ++j) ++times[static_cast<std::size_t>(j)];
  return times;
}

/// Factors are powers of two, so a 16-bit weight holds them exactly, or the weights are f32.
void check_exact(const LayerOptions& options, DType written) {
  if (written == DType::f32) return;
  const std::int64_t shared = (options.shared + options.granularity - 1) / options.granularity;
  for (const auto& [option, factor] : {std::pair{"--granularity", options.granularity},
                                       {"--shared", std::max<std::int64_t>(1, shared)}}) {
    if (std::has_single_bit(static_cast<std::uint64_t>(factor))) continue;
    throw Error(fmt::format("{}: a {} weight cannot hold a factor of {} exactly", option,
                            short_name(written), factor),
                "take a power of two, or --dtype f32");
  }
}

}  // namespace

LayerRecipe upcycle_layer(const Sources& sources, std::int64_t layer, const LayerOptions& options,
                          const std::vector<float>& rows, DType written) {
  const Source& source = sources.front();
  const std::int64_t width = source.spec.layers[static_cast<std::size_t>(layer)].width;
  const std::int64_t copies = options.experts, parts = options.granularity;
  if (width % parts != 0) {
    fail("--granularity {} does not divide the width {} of layer {}", parts, width, layer);
  }
  check_exact(options, written);
  const std::int64_t part = width / parts;
  const auto times = multiplicities(width, options.shared * part);

  LayerRecipe recipe;
  recipe.moe.experts = copies * parts;
  recipe.moe.top_k = options.top_k * parts;
  recipe.moe.groups = copies;
  recipe.moe.width = part;
  recipe.moe.shared_width = options.shared * part;
  recipe.moe.shared_gate = options.shared > 0 && shares_by_gate(source.spec);

  std::vector<float>& router = recipe.router["weight"];
  for (std::int64_t e = 0; e < recipe.moe.experts; ++e) {
    const auto row = rows.begin() + e / parts * source.spec.d_model;
    router.insert(router.end(), row, row + source.spec.d_model);
    FfnRecipe expert;
    expert.origins = {{.source = static_cast<std::size_t>(e / parts) % sources.size()}};
    for (std::int64_t p = e % parts * part; p < (e % parts + 1) * part; ++p) {
      const bool halved = times[static_cast<std::size_t>(p)] > 0;
      expert.neurons.push_back(static_cast<std::int32_t>(p));
      expert.scale.push_back(static_cast<float>(parts) * (halved ? 0.5F : 1.0F));
    }
    expert.bias_scale = options.shared > 0 ? 0.5F : 1.0F;
    expert.noise = options.noise;
    expert.drop = options.drop;
    expert.stream = fmt::format("expert {}", e);
    recipe.experts.push_back(std::move(expert));
  }
  if (options.shared == 0) return recipe;
  // A gate of zeros is a factor of 1/2; without a gate the weights are halved.
  const float half = recipe.moe.shared_gate ? 1.0F : 0.5F;
  FfnRecipe& shared = recipe.shared.emplace();
  for (std::int64_t p = 0; p < recipe.moe.shared_width; ++p) {
    shared.neurons.push_back(static_cast<std::int32_t>(p % width));
    const auto count = static_cast<float>(times[static_cast<std::size_t>(p % width)]);
    shared.scale.push_back(half / count);
  }
  shared.bias_scale = half;
  shared.stream = "shared";
  return recipe;
}

}  // namespace moebius

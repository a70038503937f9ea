#include "convert/experts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "convert/router.h"

namespace moebius {
namespace {

constexpr const char* router_parts[] = {"weight",  "bias",  "up.weight",
                                        "up.bias", "scale", "correction"};

const MoeSpec& moe_of(const Source& source, std::int64_t layer) {
  return *source.spec.layers[static_cast<std::size_t>(layer)].moe;
}

/// A recipe with the router rows of these experts, and no experts yet.
LayerRecipe with_routers_of(const Source& source, std::int64_t layer,
                            const std::vector<std::int64_t>& experts) {
  LayerRecipe recipe;
  recipe.moe = moe_of(source, layer);
  const auto before = static_cast<std::size_t>(recipe.moe.experts);
  recipe.moe.experts = recipe.moe.groups = static_cast<std::int64_t>(experts.size());
  if (recipe.moe.top_k > recipe.moe.experts) {
    fail("--experts {}: a token of layer {} takes {}", recipe.moe.experts, layer, recipe.moe.top_k);
  }
  for (const char* part : router_parts) {
    const std::string slot = fmt::format("layers.{}.moe.router.{}", layer, part);
    if (!source.holds(slot)) continue;
    const WeightSlice stored = source.slice(slot);
    const std::size_t row = stored.elements() / before;
    std::vector<float>& values = recipe.router[part];
    for (const std::int64_t e : experts) {
      for (std::size_t i = 0; i < row; ++i) {
        values.push_back(stored[static_cast<std::size_t>(e) * row + i]);
      }
    }
  }
  return recipe;
}

/// Numbers of the experts by token count, descending.
std::vector<std::int64_t> by_usage(const FfnTrace& trace) {
  std::vector<std::int64_t> order(trace.usage.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return trace.usage[static_cast<std::size_t>(a)] > trace.usage[static_cast<std::size_t>(b)];
  });
  return order;
}

/// The most used experts in ascending order.
std::vector<std::int64_t> most_used(const FfnTrace& trace, const LayerOptions& options) {
  if (options.experts >= static_cast<std::int64_t>(trace.usage.size())) {
    fail("--experts {}: layer {} has {}, and is to have fewer", options.experts, trace.layer,
         trace.usage.size());
  }
  std::vector<std::int64_t> kept = by_usage(trace);
  kept.resize(static_cast<std::size_t>(options.experts));
  std::sort(kept.begin(), kept.end());
  return kept;
}

}  // namespace

LayerRecipe expand_layer(const Source& source, std::int64_t layer, const LayerOptions& options,
                         std::uint64_t seed) {
  const MoeSpec& before = moe_of(source, layer);
  if (options.experts <= before.experts) {
    fail("--experts {}: layer {} has {}, and is to have more", options.experts, layer,
         before.experts);
  }
  std::vector<std::int64_t> origins;
  for (std::int64_t e = 0; e < options.experts; ++e) origins.push_back(e % before.experts);
  LayerRecipe recipe = with_routers_of(source, layer, origins);
  const std::vector<float> directions = fresh_router(source, layer, before.experts, seed);
  const std::int64_t copies = (options.experts + before.experts - 1) / before.experts;
  std::vector<float>& rows = recipe.router["weight"];
  for (std::int64_t e = 0; e < options.experts; ++e) {
    const std::int64_t origin = e % before.experts, copy = e / before.experts;
    const bool paired = copy % 2 == 1 || e + before.experts < options.experts;
    const float sign = copy % 2 == 0 ? 1.0F : -1.0F;
    for (std::int64_t i = 0; paired && copies > 1 && i < source.spec.d_model; ++i) {
      rows[static_cast<std::size_t>(e * source.spec.d_model + i)] +=
          sign * directions[static_cast<std::size_t>(origin * source.spec.d_model + i)];
    }
    FfnRecipe expert = copy_of_ffn({.expert = origin}, before.width);
    expert.noise = copy > 0 ? options.noise : 0;
    expert.stream = fmt::format("expert {}", e);
    recipe.experts.push_back(std::move(expert));
  }
  return recipe;
}

LayerRecipe prune_layer(const Source& source, const FfnTrace& trace, const LayerOptions& options) {
  const std::vector<std::int64_t> kept = most_used(trace, options);
  LayerRecipe recipe = with_routers_of(source, trace.layer, kept);
  for (const std::int64_t e : kept) {
    recipe.experts.push_back(copy_of_ffn({.expert = e}, recipe.moe.width));
  }
  return recipe;
}

LayerRecipe merge_layer(const Source& source, const FfnTrace& trace, const LayerOptions& options) {
  const std::vector<std::int64_t> kept = most_used(trace, options);
  LayerRecipe recipe = with_routers_of(source, trace.layer, kept);
  const at::Tensor scores = trace.router_TE.to(at::kDouble);
  at::Tensor unit = scores - scores.mean(1, /*keepdim=*/true);
  unit = unit - unit.mean(0, /*keepdim=*/true);
  unit = unit / unit.norm(2, 0, /*keepdim=*/true).clamp_min(1e-30);
  const at::Tensor likeness_EE = at::matmul(unit.t(), unit);
  std::vector<std::vector<std::int64_t>> groups;
  for (const std::int64_t e : kept) groups.push_back({e});
  for (std::int64_t e = 0; e < static_cast<std::int64_t>(trace.usage.size()); ++e) {
    if (std::binary_search(kept.begin(), kept.end(), e)) continue;
    const at::Tensor row = likeness_EE[e].index_select(0, at::tensor(kept, at::kLong));
    groups[static_cast<std::size_t>(row.argmax().item<std::int64_t>())].push_back(e);
  }
  for (const auto& group : groups) {
    FfnRecipe expert = copy_of_ffn({.expert = group[0]}, recipe.moe.width);
    expert.origins.clear();
    double tokens = 0;
    for (const std::int64_t e : group) tokens += trace.usage[static_cast<std::size_t>(e)];
    for (const std::int64_t e : group) {
      const double share = tokens > 0 ? trace.usage[static_cast<std::size_t>(e)] / tokens
                                      : 1.0 / static_cast<double>(group.size());
      if (share > 0) expert.origins.push_back({.expert = e, .weight = share});
    }
    recipe.experts.push_back(std::move(expert));
  }
  return recipe;
}

}  // namespace moebius

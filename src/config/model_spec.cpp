#include "config/model_spec.h"

#include <algorithm>
#include <span>

#include "base/error.h"

namespace moebius {
namespace {

/// Names in the order of the enumeration.
constexpr std::string_view rope_names[] = {"default", "linear", "dynamic", "llama3", "yarn"};
constexpr std::string_view score_names[] = {"linear", "neurons"};
constexpr std::string_view weight_names[] = {"softmax_renorm", "softmax", "sigmoid",
                                             "sigmoid_renorm", "one",     "one_plus"};

template <class Enum>
Enum named(std::span<const std::string_view> names, std::string_view what, std::string_view name,
           std::string_view where) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at != names.end()) return static_cast<Enum>(at - names.begin());
  fail("{}: {} \"{}\" is not known; known: {}", where, what, name, fmt::join(names, ", "));
}

}  // namespace

std::string_view name_of(RopeScaling scaling) {
  return rope_names[static_cast<std::size_t>(scaling)];
}
std::string_view name_of(RouterScores scores) {
  return score_names[static_cast<std::size_t>(scores)];
}
std::string_view name_of(RouterWeights weights) {
  return weight_names[static_cast<std::size_t>(weights)];
}

RopeScaling rope_scaling_from(std::string_view name, std::string_view where) {
  return named<RopeScaling>(rope_names, "rope_type", name, where);
}
RouterScores router_scores_from(std::string_view name, std::string_view where) {
  return named<RouterScores>(score_names, "router_scores", name, where);
}
RouterWeights router_weights_from(std::string_view name, std::string_view where) {
  return named<RouterWeights>(weight_names, "router_weights", name, where);
}

ExpertLayout expert_layout_from(std::string_view name) {
  if (name.empty()) return ExpertLayout::usual;
  if (name == "fused") return ExpertLayout::fused;
  if (name == "separate") return ExpertLayout::separate;
  throw UsageError(fmt::format("--expert-layout {}: is not fused or separate", name));
}

std::int64_t stated_context(const ModelSpec& spec) {
  const RopeScaling scaling = spec.rope.scaling;
  const bool stretched = scaling == RopeScaling::linear || scaling == RopeScaling::dynamic;
  return stretched ? spec.rope.original_context : spec.context;
}

void check_moe(const MoeSpec& moe, std::string_view where) {
  if (moe.top_k > moe.experts) {
    fail("{}: top-{} of {} experts: K must not exceed E", where, moe.top_k, moe.experts);
  }
  if (moe.groups < 1 || moe.experts % moe.groups != 0) {
    fail("{}: {} groups do not divide {} experts", where, moe.groups, moe.experts);
  }
  if (moe.top_k % moe.group_size() != 0) {
    fail("{}: top-{} would cut a group of {} experts", where, moe.top_k, moe.group_size());
  }
  const GroupLimit& limit = moe.limit;
  if (moe.experts % limit.groups != 0 || moe.experts / limit.groups < limit.best) {
    fail("{}: {} groups of {} experts: they must have the same size, {} or more", where,
         limit.groups, moe.experts, limit.best);
  }
  if (limit.kept > limit.groups || moe.top_k > moe.experts / limit.groups * limit.kept) {
    fail("{}: {} of {} groups are not enough for top-{} of {} experts", where, limit.kept,
         limit.groups, moe.top_k, moe.experts);
  }
}

}  // namespace moebius

#include "config/model_spec.h"

#include <array>
#include <utility>

#include "base/error.h"

namespace moebius {
namespace {

constexpr std::array<std::pair<RouterWeights, std::string_view>, 5> weight_names{{
    {RouterWeights::softmax_renorm, "softmax_renorm"},
    {RouterWeights::softmax, "softmax"},
    {RouterWeights::sigmoid, "sigmoid"},
    {RouterWeights::one, "one"},
    {RouterWeights::one_plus, "one_plus"},
}};

}  // namespace

std::string_view name_of(RouterWeights weights) {
  return weight_names[static_cast<std::size_t>(weights)].second;
}

std::string_view name_of(RouterScores scores) {
  return scores == RouterScores::linear ? "linear" : "neurons";
}

RouterWeights router_weights_from(std::string_view name, std::string_view where) {
  for (const auto& [value, known] : weight_names) {
    if (known == name) return value;
  }
  fail(
      "{}: router weights \"{}\" are not one of softmax_renorm, softmax, sigmoid, one, "
      "one_plus",
      where, name);
}

RouterScores router_scores_from(std::string_view name, std::string_view where) {
  if (name == "linear") return RouterScores::linear;
  if (name == "neurons") return RouterScores::neurons;
  fail("{}: router scores \"{}\" are not known; known: linear, neurons", where, name);
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
}

}  // namespace moebius

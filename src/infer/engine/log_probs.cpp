#include "infer/engine/log_probs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/kernels.h"
#include "ops/weight.h"

namespace moebius {

double log_sum_exp(std::span<const float> scores_V) {
  float max = 0, sum = 0;
  const std::int64_t columns = std::ssize(scores_V);
  kernel_table().sum_exp({.scores = scores_V.data(),
                          .type = kernels::ValueType::f32,
                          .scale = 1.0f,
                          .max = &max,
                          .sum = &sum,
                          .m = 1,
                          .columns = columns,
                          .ld = columns});
  return static_cast<double>(max) + std::log(static_cast<double>(sum));
}

std::vector<TokenLogProb> top_log_probs(std::span<const float> scores_V, double log_sum,
                                        std::int64_t count) {
  std::vector<std::int32_t> order(scores_V.size());
  std::iota(order.begin(), order.end(), 0);
  const auto score = [&](std::int32_t id) { return scores_V[static_cast<std::size_t>(id)]; };
  const auto better = [&](std::int32_t a, std::int32_t b) {
    return score(a) != score(b) ? score(a) > score(b) : a < b;
  };
  const auto end = order.begin() + std::min<std::int64_t>(count, std::ssize(order));
  std::partial_sort(order.begin(), end, order.end(), better);
  std::vector<TokenLogProb> top;
  for (auto id = order.begin(); id != end; ++id) top.push_back({*id, score(*id) - log_sum});
  return top;
}

}  // namespace moebius

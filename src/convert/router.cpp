#include "convert/router.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/random.h"
#include "convert/partition.h"
#include "convert/statistics.h"

namespace moebius {

std::vector<float> values_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kFloat).contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

std::vector<float> fresh_router(const Source& source, std::int64_t layer, std::int64_t experts,
                                std::uint64_t seed) {
  // The norm whose output the router sees.
  const char* name = source.spec.post_norm ? "attn_norm" : "ffn_norm";
  const std::string norm = fmt::format("layers.{}.{}", layer, name);
  std::optional<WeightSlice> bias;
  if (source.holds(norm + ".bias")) bias = source.slice(norm + ".bias");
  const double rms = norm_output_rms(source.slice(norm + ".weight"), bias);
  return random_router(experts, source.spec.d_model, rms, seed, layer);
}

std::vector<float> random_router(std::int64_t experts, std::int64_t d_model, double rms,
                                 std::uint64_t seed, std::int64_t layer) {
  const Random random(seed, stream_of(fmt::format("router {}", layer)));
  const double deviation = 1.0 / (std::sqrt(static_cast<double>(d_model)) * rms);
  std::vector<float> router(static_cast<std::size_t>(experts * d_model));
  for (std::size_t i = 0; i < router.size(); ++i) {
    router[i] = static_cast<float>(deviation * random.normal(i));
  }
  return router;
}

at::Tensor rows_towards(const at::Tensor& directions_ED, const at::Tensor& x_TD) {
  const at::Tensor x = x_TD.to(at::kDouble), mean_D = x.mean(0);
  at::Tensor rows = directions_ED.to(at::kDouble);
  rows = rows - rows.mean(0, /*keepdim=*/true);
  const at::Tensor along = at::mv(rows, mean_D) / at::dot(mean_D, mean_D).clamp_min(1e-30);
  rows = rows - at::outer(along, mean_D);
  rows = rows / rows.norm(2, 1, /*keepdim=*/true).clamp_min(1e-30);
  const at::Tensor scores_TE = at::matmul(x, rows.t());
  const at::Tensor deviation = (scores_TE - scores_TE.mean(1, true)).square().mean().sqrt();
  return (rows / deviation.clamp_min(1e-30)).to(at::kFloat).contiguous();
}

std::vector<float> centroid_router(const at::Tensor& x_TD, std::int64_t experts, std::uint64_t seed,
                                   std::int64_t layer) {
  const at::Tensor centred = x_TD - x_TD.mean(0, /*keepdim=*/true);
  const Assignment assignment = cluster(centred, experts, seed, fmt::format("centroids {}", layer));
  const at::Tensor which = at::tensor(assignment, at::kLong);
  const at::Tensor sums = at::zeros({experts, x_TD.size(1)}, x_TD.options());
  sums.index_add_(0, which, centred);
  const at::Tensor counts = at::bincount(which, {}, experts).clamp_min(1).unsqueeze(1);
  return values_of(rows_towards(sums / counts, x_TD));
}

}  // namespace moebius

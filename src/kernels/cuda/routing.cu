// Routing: a warp per token chooses its experts; a block per expert sorts the assignments.
#include "kernels/cuda/device.h"
#include "kernels/router_weighting.h"

namespace moebius::kernels::cuda {
namespace {

constexpr unsigned warps = 4, sort_threads = 256;

/// A sort key of values: a larger key is a larger value, or among equal values the lower index; NaN
/// is less than anything.
__device__ std::uint64_t key_of(float value, std::int64_t place) {
  const unsigned bits = __float_as_uint(value + 0.0f);  // -0 equals 0
  const unsigned ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  const std::uint64_t rank = value != value ? 0 : ordered;
  return rank << 32 | (0xFFFFFFFFu - static_cast<unsigned>(place));
}
__device__ std::int64_t place_of(std::uint64_t key) {
  return 0xFFFFFFFFu - static_cast<unsigned>(key);
}

__device__ float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}

/// The largest key below `last`, for all lanes.
__device__ std::uint64_t next_key(const float* values, std::int64_t count, std::uint64_t last,
                                  unsigned lane) {
  std::uint64_t best = 0;
  for (std::int64_t i = lane; i < count; i += warp_size) {
    const std::uint64_t key = key_of(values[i], i);
    if (key < last && key > best) best = key;
  }
  return reduce_warp(best, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
}

/// Sets scores of groups that are not chosen from to -infinity; a lane per group. `quality` is
/// scratch of one value per group.
__device__ void apply_limit(const RoutingRule& rule, float* scores, float* quality, unsigned lane) {
  const std::int64_t groups = rule.limit_groups, size = rule.experts / groups;
  for (std::int64_t g = lane; g < groups; g += warp_size) {
    std::uint64_t last = ~std::uint64_t{0};
    float sum = 0;
    for (std::int64_t n = 0; n < rule.limit_best; ++n) {
      std::uint64_t best = 0;
      for (std::int64_t i = 0; i < size; ++i) {
        const std::uint64_t key = key_of(scores[g * size + i], i);
        if (key < last && key > best) best = key;
      }
      sum += scores[g * size + place_of(best)];
      last = best;
    }
    quality[g] = sum;
  }
  __syncwarp();
  std::uint64_t least = ~std::uint64_t{0};  // of the groups that are kept
  for (std::int64_t n = 0; n < rule.limit_kept; ++n) least = next_key(quality, groups, least, lane);
  for (std::int64_t e = lane; e < rule.experts; e += warp_size) {
    if (key_of(quality[e / size], e / size) < least) scores[e] = -INFINITY;
  }
  __syncwarp();
}

/// The normaliser's scores of all experts are divided among the lanes; those of the chosen are
/// added in their order by every lane.
__device__ void weigh(const Route& a, const float* logits, const std::int32_t* ids, float* weights,
                      unsigned lane) {
  const RoutingRule& rule = a.rule;
  const RouterWeighting w = weighting_of(rule.kind);
  float max = 0, sum = w.epsilon;
  if (w.domain == RouterWeighting::Domain::all) {
    max = -INFINITY;
    for (std::int64_t e = lane; e < rule.experts; e += warp_size) max = fmaxf(max, logits[e]);
    max = max_of_warp(max);
    float part = 0;
    for (std::int64_t e = lane; e < rule.experts; e += warp_size) {
      part += router_score(w, logits[e], max);
    }
    sum += sum_of_warp(part);
  } else if (w.domain == RouterWeighting::Domain::chosen) {
    max = -INFINITY;
    for (std::int64_t k = 0; k < rule.top_k; ++k) max = fmaxf(max, logits[ids[k]]);
    for (std::int64_t k = 0; k < rule.top_k; ++k) sum += router_score(w, logits[ids[k]], max);
  }
  for (std::int64_t k = lane; k < rule.top_k; k += warp_size) {
    const float share = router_share(w, router_score(w, logits[ids[k]], max), sum);
    weights[k] = router_weight(w, share, w.learned ? a.scale + ids[k] : nullptr) * rule.factor;
  }
}

/// Values of shared memory per token: scores, and sums of groups.
__host__ __device__ std::int64_t scratch_of(const RoutingRule& rule) {
  return 2 * rule.experts;
}

__global__ void route_tokens(Route a) {
  const RoutingRule& rule = a.rule;
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const std::int64_t token = std::int64_t{blockIdx.x} * warps + warp;
  if (token >= a.tokens) return;
  const float* logits = a.logits + token * rule.experts;
  std::int32_t* ids = a.ids + token * rule.top_k;
  float* scores = shared_memory<float>() + warp * scratch_of(rule);
  float* sums = scores + rule.experts;
  for (std::int64_t e = lane; e < rule.experts; e += warp_size) {
    scores[e] = a.correction == nullptr ? logits[e] : sigmoid(logits[e]) + a.correction[e];
  }
  __syncwarp();
  if (rule.limit_kept < rule.limit_groups) apply_limit(rule, scores, sums, lane);
  const std::int64_t size = rule.group_size, groups = rule.experts / size;
  for (std::int64_t g = lane; g < groups && size > 1; g += warp_size) {
    float sum = 0;
    for (std::int64_t i = 0; i < size; ++i) sum += scores[g * size + i];
    sums[g] = sum;
  }
  __syncwarp();
  const float* values = size > 1 ? sums : scores;
  std::uint64_t last = ~std::uint64_t{0};
  for (std::int64_t k = 0; k < rule.top_k; k += size) {
    last = next_key(values, groups, last, lane);
    for (std::int64_t i = lane; i < size; i += warp_size) {
      ids[k + i] = static_cast<std::int32_t>(place_of(last) * size + i);
    }
  }
  __syncwarp();
  weigh(a, logits, ids, a.weights + token * rule.top_k, lane);
}

/// Counts the assignments of each expert.
__global__ void count_assignments(SortByExpert a) {
  const std::int64_t all = a.tokens * a.top_k;
  float count = 0;  // exact below 2^24
  for (std::int64_t i = threadIdx.x; i < all; i += blockDim.x) {
    count += a.ids[i] == static_cast<std::int32_t>(blockIdx.x) ? 1.0f : 0.0f;
  }
  count = sum_of_block(count, shared_memory<float>());
  if (threadIdx.x == 0) a.counts[blockIdx.x] = static_cast<std::int32_t>(count);
}

/// Writes the rows of an expert, after those of the experts before it.
__global__ void place_assignments(SortByExpert a) {
  auto* scratch = shared_memory<float>();
  auto* warp_counts = reinterpret_cast<std::int32_t*>(scratch + warp_size);  // of each warp
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const auto expert = static_cast<std::int32_t>(blockIdx.x);
  float before = 0;
  for (std::int32_t e = static_cast<std::int32_t>(threadIdx.x); e < expert;
       e += static_cast<std::int32_t>(blockDim.x)) {
    before += static_cast<float>(a.counts[e]);
  }
  auto next = static_cast<std::int32_t>(sum_of_block(before, scratch));
  if (threadIdx.x == 0) {
    a.offsets[expert] = next;
    if (expert + 1 == a.experts) a.offsets[a.experts] = next + a.counts[expert];
  }
  const std::int64_t all = a.tokens * a.top_k;
  for (std::int64_t begin = 0; begin < all; begin += blockDim.x) {
    const std::int64_t i = begin + threadIdx.x;
    const bool mine = i < all && a.ids[i] == expert;
    const unsigned votes = __ballot_sync(whole_warp, mine);
    __syncthreads();  // the counts may still be read
    if (lane == 0) warp_counts[warp] = __popc(votes);
    __syncthreads();
    std::int32_t row = next + __popc(votes & ((1u << lane) - 1));
    for (unsigned w = 0; w < blockDim.x / warp_size; ++w) {
      if (w < warp) row += warp_counts[w];
      next += warp_counts[w];
    }
    if (!mine) continue;
    a.rows[row] = static_cast<std::int32_t>(i / a.top_k);
    a.places[i] = row;
  }
}

}  // namespace

Failure route(const Route& args, Stream stream) {
  const std::size_t shared =
      warps * static_cast<std::size_t>(scratch_of(args.rule)) * sizeof(float);
  return launch(route_tokens, blocks_for(args.tokens, warps), warps * warp_size, shared, stream,
                args);
}

Failure sort_by_expert(const SortByExpert& args, Stream stream) {
  const auto experts = static_cast<unsigned>(args.experts);
  constexpr std::size_t shared = 2 * warp_size * sizeof(float);
  if (Failure failure = launch(count_assignments, experts, sort_threads, shared, stream, args)) {
    return failure;
  }
  return launch(place_assignments, experts, sort_threads, shared, stream, args);
}

}  // namespace moebius::kernels::cuda

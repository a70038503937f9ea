#include "model/tensor_ops.h"

#include <ATen/ATen.h>

#include <map>

#include "model/rope.h"
#include "ops/norm.h"
#include "ops/rotate.h"
#include "ops/self_attention.h"

namespace moebius {
namespace {

/// [B, S, heads * A] -> [B, heads, S, A]
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);
}

/// [B, H, S, A] -> [B, S, H * A]
at::Tensor join_heads(const at::Tensor& x) {
  return x.transpose(1, 2).flatten(2);
}

/// Causal attention of S queries over `length` + S keys, each looking back `window` (0: all).
at::Tensor attention(const at::Tensor& q_BHSA, const at::Tensor& k, const at::Tensor& v,
                     std::int64_t length, std::int64_t window, double scale) {
  const std::int64_t queries = q_BHSA.size(2), keys = k.size(2);
  const bool windowed = window > 0 && keys > window;
  if (windowed && queries == 1) {
    return attention(q_BHSA, k.narrow(2, keys - window, window), v.narrow(2, keys - window, window),
                     window - 1, 0, scale);
  }
  c10::optional<at::Tensor> mask;
  const bool causal = length == 0 && queries > 1 && !windowed;
  if (!causal && queries > 1) {
    mask = at::ones({queries, keys}, q_BHSA.options().dtype(at::kBool)).tril(length);
    if (windowed) mask = mask->triu(length - window + 1);
  }
  return at::scaled_dot_product_attention(q_BHSA, k, v, mask, 0.0, causal, scale,
                                          /*enable_gqa=*/q_BHSA.size(1) != k.size(1));
}

/// One query a sequence over all latents, in their own space: a head's keys are b_HNR c_R, so the
/// query meets c as q_HN b, and the mixture of latents becomes a value last (DeepSeek-V2, 2.1.2).
/// N is A - P.
at::Tensor absorbed(const at::Tensor& q_BHA, const at::Tensor& k_BSP, const at::Tensor& c_BSR,
                    const at::Tensor& b_HXR, double scale) {
  const std::int64_t rotated = k_BSP.size(-1), plain = q_BHA.size(-1) - rotated;
  const at::Tensor b_HNR = b_HXR.narrow(1, 0, plain);
  const at::Tensor b_HVR = b_HXR.narrow(1, plain, b_HXR.size(1) - plain);
  const at::Tensor q_BHR = at::einsum("bhn,hnr->bhr", {q_BHA.narrow(-1, 0, plain), b_HNR});
  const at::Tensor scores_BHS = at::matmul(q_BHR, c_BSR.transpose(1, 2)) +
                                at::matmul(q_BHA.narrow(-1, plain, rotated), k_BSP.transpose(1, 2));
  const at::Tensor shares_BHS =
      at::softmax(scores_BHS.to(at::kFloat) * scale, -1).to(c_BSR.scalar_type());
  return at::einsum("bhr,hvr->bhv", {at::matmul(shares_BHS, c_BSR), b_HVR});
}

}  // namespace

KvCache make_cache(const ModelSpec& spec, std::int64_t batch, std::int64_t capacity,
                   const at::TensorOptions& options) {
  KvCache cache;
  cache.capacity = capacity;
  const auto& latent = spec.latent;
  const auto allocate = [&](std::int64_t size) {
    return at::empty({batch, capacity, size}, options);
  };
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (latent) {
      const at::Tensor both = allocate(latent->rope_dim + latent->kv_rank);
      cache.layers.push_back(
          {both.narrow(2, 0, latent->rope_dim), both.narrow(2, latent->rope_dim, latent->kv_rank)});
    } else {
      const std::int64_t heads = spec.kv_heads * spec.head_dim;
      cache.layers.push_back({allocate(heads), allocate(heads)});
    }
  }
  return cache;
}

Rotary rotary(const ModelSpec& spec, std::int64_t start, std::int64_t count, at::Device device) {
  if (spec.position != PositionKind::rope) return {};
  const auto options = at::TensorOptions(at::kFloat).device(device);
  const at::Tensor frequencies =
      rope_frequencies(spec.rope, spec.rotary_dim(), start + count).to(device);
  const at::Tensor angles =
      at::arange(start, start + count, options).unsqueeze(1) * frequencies.unsqueeze(0);
  return {angles.cos() * spec.rope.attention_factor, angles.sin() * spec.rope.attention_factor};
}

Rotary rotary(const ModelSpec& spec, const TokenBatch& batch, at::Device device) {
  if (spec.position != PositionKind::rope) return {};
  // One table for each length that occurs: `dynamic` scaling depends on it.
  std::map<std::int64_t, Rotary> tables;
  std::vector<at::Tensor> cos, sin;
  for (std::size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s) {
    const std::int64_t length = batch.sequence_starts[s + 1] - batch.sequence_starts[s];
    auto [table, added] = tables.try_emplace(length);
    if (added) table->second = rotary(spec, 0, length, device);
    cos.push_back(table->second.cos_SP);
    sin.push_back(table->second.sin_SP);
  }
  return {at::cat(cos), at::cat(sin)};
}

TensorOps::TensorOps(const ModelSpec& spec, std::int64_t count, at::ScalarType dtype,
                     at::Device device, KvCache* cache)
    : spec_(spec),
      dtype_(dtype),
      start_(cache != nullptr ? cache->length : 0),
      cache_(cache),
      rotary_(rotary(spec, start_, count, device)) {}

TensorOps::TensorOps(const ModelSpec& spec, const TokenBatch& batch, at::ScalarType dtype,
                     at::Device device)
    : spec_(spec),
      dtype_(dtype),
      start_(0),
      cache_(nullptr),
      rotary_(rotary(spec, batch, device)),
      sequence_starts_(at::tensor(batch.sequence_starts, at::kLong)),
      positions_N_(at::tensor(batch.positions_N).to(device, at::kLong)) {}

TensorOps::TensorOps(const ModelSpec& spec, at::ScalarType dtype, Rotary rotary)
    : spec_(spec), dtype_(dtype), start_(0), cache_(nullptr), rotary_(std::move(rotary)) {}

at::Tensor TensorOps::add_positions(const at::Tensor& x, const Weight& w_CD) const {
  if (positions_N_.defined()) {
    return x + ops::embedding(positions_N_ + spec_.position_offset, w_CD.plain(), x.scalar_type());
  }
  return x + w_CD.plain().narrow(0, start_ + spec_.position_offset, x.size(1)).to(x.scalar_type());
}

at::Tensor TensorOps::scale(const at::Tensor& x, double factor) const {
  return x * factor;
}

at::Tensor TensorOps::clamp(const at::Tensor& x, double bound) const {
  return x.clamp(-bound, bound);
}

at::Tensor TensorOps::columns(const at::Tensor& x, std::int64_t begin, std::int64_t count) const {
  return x.narrow(-1, begin, count);
}

bool TensorOps::all_finite(const at::Tensor& x) const {
  return at::isfinite(x).all().item<bool>();
}

at::Tensor TensorOps::norm(const at::Tensor& x, const NormOf<Weight>& w) const {
  return ops::norm(x, w.weight, w.bias, spec_.norm, spec_.norm_eps);
}

at::Tensor TensorOps::rms_norm(const at::Tensor& x, const Weight& w, double eps,
                               std::int64_t heads) const {
  if (heads == 1) return ops::norm(x, w, {}, NormKind::rms, eps);
  return ops::norm(x.unflatten(-1, {heads, -1}), w, {}, NormKind::rms, eps).flatten(-2);
}

at::Tensor TensorOps::rotate(const at::Tensor& x, std::int64_t heads) const {
  if (!rotary_.cos_SP.defined()) return x;
  return ops::rotate(x, rotary_.cos_SP, rotary_.sin_SP, heads, spec_.rope.interleaved);
}

std::pair<at::Tensor, at::Tensor> TensorOps::remembered(std::size_t layer, const at::Tensor& k,
                                                        const at::Tensor& v) const {
  if (cache_ == nullptr) return {k, v};
  const LayerCache& cache = cache_->layers[layer];
  const std::int64_t count = k.size(1);
  cache.k.narrow(1, start_, count).copy_(k);
  cache.v.narrow(1, start_, count).copy_(v);
  return {cache.k.narrow(1, 0, start_ + count), cache.v.narrow(1, 0, start_ + count)};
}

at::Tensor TensorOps::attend(std::size_t layer, const at::Tensor& q, const at::Tensor& k,
                             const at::Tensor& v) {
  if (sequence_starts_.defined()) {
    return ops::self_attention(
        q, k, v, sequence_starts_,
        {spec_.heads, spec_.kv_heads, spec_.layers[layer].window, spec_.attention_scale});
  }
  if (cache_ == nullptr && ops::suits_self_attention(q)) {
    return ops::self_attention(
        q, k, v, {spec_.heads, spec_.kv_heads, spec_.layers[layer].window, spec_.attention_scale});
  }
  const auto [keys, values] = remembered(layer, k, v);
  return join_heads(attention(split_heads(q, spec_.heads), split_heads(keys, spec_.kv_heads),
                              split_heads(values, spec_.kv_heads), start_,
                              spec_.layers[layer].window, spec_.attention_scale));
}

at::Tensor TensorOps::attend_to_latents(std::size_t layer, const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& c, const Weight& b) {
  const bool batch = sequence_starts_.defined();
  const auto [k_P, c_R] = batch ? std::pair(k, c) : remembered(layer, k, c);
  const std::int64_t heads = spec_.heads, rows = b.plain().size(0) / heads;
  const std::int64_t plain = spec_.head_dim - k_P.size(-1), values = rows - plain;
  if (!batch && q.size(1) == 1) {
    const at::Tensor b_HXR = b.plain().to(dtype_).unflatten(0, {heads, rows});
    return absorbed(q.squeeze(1).unflatten(-1, {heads, -1}), k_P, c_R, b_HXR, spec_.attention_scale)
        .flatten(1)
        .unsqueeze(1);
  }
  const at::Tensor kv_HX = ops::linear(c_R, b).unflatten(-1, {heads, rows});
  const at::Tensor v_HV = kv_HX.narrow(-1, plain, values);
  std::vector<std::int64_t> by_head = k_P.sizes().vec();
  by_head.insert(by_head.end() - 1, heads);
  const at::Tensor k_HA =
      at::cat({kv_HX.narrow(-1, 0, plain), k_P.unsqueeze(-2).expand(by_head)}, -1);
  const ops::AttentionShape shape{heads, heads, 0, spec_.attention_scale};
  if (batch) {
    return ops::self_attention(q, k_HA.flatten(-2), v_HV.flatten(-2), sequence_starts_, shape);
  }
  if (cache_ == nullptr && ops::suits_self_attention(q)) {
    return ops::self_attention(q, k_HA.flatten(-2), v_HV.flatten(-2), shape);
  }
  // Fused attention takes heads of one width; without it all S x S shares would lie in memory.
  const std::int64_t width = std::max(values, spec_.head_dim);
  const auto padded = [&](const at::Tensor& x_BSHX) {
    const at::Tensor x = x_BSHX.transpose(1, 2);
    return x.size(3) == width ? x : at::constant_pad_nd(x, {0, width - x.size(3)});
  };
  return join_heads(attention(padded(q.unflatten(-1, {heads, -1})), padded(k_HA), padded(v_HV),
                              start_, 0, spec_.attention_scale)
                        .narrow(-1, 0, values));
}

at::Tensor TensorOps::add(const at::Tensor& x, const at::Tensor& y) const {
  return x + (spec_.residual_multiplier == 1.0 ? y : y * spec_.residual_multiplier);
}

at::Tensor TensorOps::moe(const at::Tensor& y, const Moe& w, const MoeSpec& moe) {
  MoeOutput out = moe_layer(y.flatten(0, -2), w, moe, spec_.activation);
  routings_.push_back(std::move(out.routing));
  return out.y_TD.view(y.sizes());
}

}  // namespace moebius

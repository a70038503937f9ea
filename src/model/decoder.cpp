#include "model/decoder.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "model/rope.h"
#include "ops/linear.h"

namespace moebius {
namespace {

/// [B, S, heads * A] -> [B, heads, S, A]
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads, std::int64_t head_dim) {
  return x.view({x.size(0), x.size(1), heads, head_dim}).transpose(1, 2);
}

/// Rotates the halves of each head, or of its last dimensions (RoFormer, Su et al. 2021, in the
/// layout of GPT-NeoX); interleaved ones become halves first, alike in queries and keys. In f32.
at::Tensor rotate(const at::Tensor& x_BHSA, const Rotary& rotary) {
  if (!rotary.cos_SA.defined()) return x_BHSA;
  const std::int64_t turns = rotary.cos_SA.size(-1), stays = x_BHSA.size(-1) - turns;
  const std::int64_t half = turns / 2;
  at::Tensor x = x_BHSA.narrow(-1, stays, turns).to(at::kFloat);
  if (rotary.interleaved) x = x.unflatten(-1, {half, 2}).transpose(-1, -2).flatten(-2);
  const at::Tensor turned = at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  const at::Tensor y = (x * rotary.cos_SA + turned * rotary.sin_SA).to(x_BHSA.scalar_type());
  return stays == 0 ? y : at::cat({x_BHSA.narrow(-1, 0, stays), y}, -1);
}

/// Causal attention of S queries over `length` + S keys, each looking back `window` (0: all).
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  std::int64_t length, std::int64_t window, double scale) {
  const std::int64_t queries = q.size(2), keys = k.size(2);
  const bool windowed = window > 0 && keys > window;
  if (windowed && queries == 1) {
    return attend(q, k.narrow(2, keys - window, window), v.narrow(2, keys - window, window),
                  window - 1, 0, scale);
  }
  c10::optional<at::Tensor> mask;
  const bool causal = length == 0 && queries > 1 && !windowed;
  if (!causal && queries > 1) {
    mask = at::ones({queries, keys}, q.options().dtype(at::kBool)).tril(length);
    if (windowed) mask = mask->triu(length - window + 1);
  }
  return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale,
                                          /*enable_gqa=*/q.size(1) != k.size(1));
}

/// One query a sequence over all latents, in their own space: a head's keys are b_HNR c_R, so the
/// query meets c as q_HN b, and the mixture of latents becomes a value last (DeepSeek-V2, 2.1.2).
/// N is A - P.
at::Tensor attend_to_latents(const at::Tensor& q_BH1A, const at::Tensor& k_B1SP,
                             const at::Tensor& c_B1SR, const at::Tensor& b_HXR, double scale) {
  const at::Tensor q = q_BH1A.squeeze(2), k = k_B1SP.squeeze(1), c = c_B1SR.squeeze(1);
  const std::int64_t rotated = k.size(-1), plain = q.size(-1) - rotated;
  const at::Tensor b_HNR = b_HXR.narrow(1, 0, plain);
  const at::Tensor b_HVR = b_HXR.narrow(1, plain, b_HXR.size(1) - plain);
  const at::Tensor q_BHR = at::einsum("bhn,hnr->bhr", {q.narrow(-1, 0, plain), b_HNR});
  const at::Tensor scores_BHS = at::matmul(q_BHR, c.transpose(1, 2)) +
                                at::matmul(q.narrow(-1, plain, rotated), k.transpose(1, 2));
  const at::Tensor shares_BHS =
      at::softmax(scores_BHS.to(at::kFloat) * scale, -1).to(c.scalar_type());
  return at::einsum("bhr,hvr->bhv", {at::matmul(shares_BHS, c), b_HVR}).unsqueeze(2);
}

/// Causal attention of S queries over the rotary keys and latents of `length` + S tokens; b is
/// [H X, R], of each head N rows for its key and V for its value.
at::Tensor attend_latent(const at::Tensor& q_BHSA, const at::Tensor& k_B1SP,
                         const at::Tensor& c_B1SR, const at::Tensor& b, std::int64_t length,
                         double scale) {
  const std::int64_t heads = q_BHSA.size(1), rows = b.size(0) / heads;
  if (q_BHSA.size(2) == 1) {
    const at::Tensor b_HXR = b.to(q_BHSA.scalar_type()).view({heads, rows, b.size(1)});
    return attend_to_latents(q_BHSA, k_B1SP, c_B1SR, b_HXR, scale);
  }
  const std::int64_t plain = q_BHSA.size(3) - k_B1SP.size(3);
  const at::Tensor kv = split_heads(ops::linear(c_B1SR.squeeze(1), b), heads, rows);
  const at::Tensor k_BHSA =
      at::cat({kv.narrow(-1, 0, plain), k_B1SP.expand({-1, heads, -1, -1})}, -1);
  // Fused attention takes heads of one width; without it all S x S shares would lie in memory.
  const std::int64_t values = rows - plain, width = std::max(values, q_BHSA.size(3));
  const auto padded = [&](const at::Tensor& x) {
    return x.size(3) == width ? x : at::constant_pad_nd(x, {0, width - x.size(3)});
  };
  return attend(padded(q_BHSA), padded(k_BHSA), padded(kv.narrow(-1, plain, values)), length, 0,
                scale)
      .narrow(-1, 0, values);
}

/// Queries, keys and values before rotation; with latents [B, 1, S, P] and [B, 1, S, R] as cached.
struct Projections {
  at::Tensor q_BHSA, k_BGSA, v_BGSA;
};

bool all_finite(const at::Tensor& x) {
  return at::isfinite(x).all().item<bool>();
}

at::Tensor norm(const ModelSpec& spec, const at::Tensor& x, const NormOf<Weight>& w) {
  return ops::norm(x, w.weight, w.bias, spec.norm, spec.norm_eps);
}

at::Tensor qk_norm(const ModelSpec& spec, const at::Tensor& x, const at::Tensor& weight) {
  return weight.defined() ? ops::norm(x, weight, {}, NormKind::rms, spec.norm_eps) : x;
}

/// x + residual_multiplier y, then the norm where norms come last.
at::Tensor add_branch(const ModelSpec& spec, const at::Tensor& x, const at::Tensor& y,
                      const NormOf<Weight>& w) {
  const at::Tensor sum = x + (spec.residual_multiplier == 1.0 ? y : y * spec.residual_multiplier);
  return spec.post_norm ? norm(spec, sum, w) : sum;
}

Projections project_latent(const ModelSpec& spec, const AttentionOf<Weight>& a,
                           const at::Tensor& x) {
  const LatentSpec& latent = *spec.latent;
  const auto normed = [&](const at::Tensor& c, const at::Tensor& weight) {
    return ops::norm(c, weight, {}, NormKind::rms, latent.norm_eps);
  };
  const auto query = [&] {
    if (a.q.defined()) return ops::linear(x, a.q);
    const LatentOf<Weight>& q = a.q_latent;
    return ops::linear(normed(ops::linear(x, q.a, q.a_bias), q.norm), q.b);
  };
  const at::Tensor kv = ops::linear(x, a.kv_latent.a, a.kv_latent.a_bias);
  const at::Tensor c = normed(kv.narrow(-1, 0, latent.kv_rank), a.kv_latent.norm);
  const at::Tensor k = kv.narrow(-1, latent.kv_rank, latent.rope_dim);
  return {split_heads(query(), spec.heads, spec.head_dim), k.unsqueeze(1), c.unsqueeze(1)};
}

Projections project(const ModelSpec& spec, const LayerWeights& w, const at::Tensor& x_BSD) {
  const at::Tensor x = spec.post_norm ? x_BSD : norm(spec, x_BSD, w.attn_norm);
  const AttentionOf<Weight>& a = w.attn;
  if (spec.latent) return project_latent(spec, a, x);
  const auto heads = [&](const Weight& weight, const at::Tensor& bias, const at::Tensor& norm,
                         std::int64_t count) {
    at::Tensor y = ops::linear(x, weight, bias);
    if (spec.qk_norm == QkNorm::all) y = qk_norm(spec, y, norm);
    if (spec.clip_qkv > 0) y = y.clamp(-spec.clip_qkv, spec.clip_qkv);
    y = split_heads(y, count, spec.head_dim);
    return spec.qk_norm == QkNorm::head ? qk_norm(spec, y, norm) : y;
  };
  return {heads(a.q, a.q_bias, a.q_norm, spec.heads), heads(a.k, a.k_bias, a.k_norm, spec.kv_heads),
          heads(a.v, a.v_bias, {}, spec.kv_heads)};
}

}  // namespace

KvCache make_cache(const ModelSpec& spec, std::int64_t batch, std::int64_t capacity,
                   const at::TensorOptions& options) {
  KvCache cache;
  cache.capacity = capacity;
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const auto allocate = [&](std::int64_t heads, std::int64_t size) {
      return at::empty({batch, heads, capacity, size}, options);
    };
    if (const auto& latent = spec.latent) {
      cache.layers.push_back({allocate(1, latent->rope_dim), allocate(1, latent->kv_rank)});
    } else {
      cache.layers.push_back(
          {allocate(spec.kv_heads, spec.head_dim), allocate(spec.kv_heads, spec.head_dim)});
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
  const at::Tensor both = at::cat({angles, angles}, -1);
  return {both.cos() * spec.rope.attention_factor, both.sin() * spec.rope.attention_factor,
          spec.rope.interleaved};
}

at::Tensor ids_tensor(std::span<const std::int32_t> ids) {
  at::Tensor tensor = at::empty({1, static_cast<std::int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor;
}

at::Tensor embed(const ModelSpec& spec, const Weights& w, const at::Tensor& ids_BS,
                 std::int64_t start, at::ScalarType dtype) {
  at::Tensor x = ops::embedding(ids_BS, w.embed, dtype);
  if (w.project_in.defined()) x = ops::linear(x, w.project_in);
  if (spec.position == PositionKind::learned) {
    x = x + w.position.plain().narrow(0, start + spec.position_offset, ids_BS.size(1)).to(dtype);
  }
  return spec.embedding_multiplier == 1.0 ? x : x * spec.embedding_multiplier;
}

at::Tensor attention_block(const ModelSpec& spec, const LayerWeights& w, const at::Tensor& x_BSD,
                           const Rotary& rotary, std::int64_t window, LayerCache* cache,
                           std::int64_t length) {
  const Projections p = project(spec, w, x_BSD);
  const at::Tensor q = rotate(p.q_BHSA, rotary);
  at::Tensor k = rotate(p.k_BGSA, rotary), v = p.v_BGSA;
  if (cache != nullptr) {
    const std::int64_t count = k.size(2);
    cache->k_BGSA.narrow(2, length, count).copy_(k);
    cache->v_BGSA.narrow(2, length, count).copy_(v);
    k = cache->k_BGSA.narrow(2, 0, length + count);
    v = cache->v_BGSA.narrow(2, 0, length + count);
  }
  const at::Tensor y_BHSA =
      spec.latent ? attend_latent(q, k, v, w.attn.kv_latent.b, length, spec.attention_scale)
                  : attend(q, k, v, length, window, spec.attention_scale);
  const at::Tensor mixed = y_BHSA.transpose(1, 2).flatten(2);
  return add_branch(spec, x_BSD, ops::linear(mixed, w.attn.o, w.attn.o_bias), w.attn_norm);
}

at::Tensor ffn_input(const ModelSpec& spec, const LayerWeights& w, const at::Tensor& x_BSD) {
  return spec.post_norm ? x_BSD : norm(spec, x_BSD, w.ffn_norm);
}

FfnOutput ffn_branch(const ModelSpec& spec, const LayerSpec& layer, const LayerWeights& w,
                     const at::Tensor& x_BSD) {
  const at::Tensor x = ffn_input(spec, w, x_BSD);
  if (const Moe* moe = w.moe()) {
    MoeOutput out = moe_layer(x.flatten(0, 1), *moe, *layer.moe, spec.activation);
    return {out.y_TD.view(x.sizes()), std::move(out.routing)};
  }
  return {ffn(x, std::get<Ffn>(w.ffn), spec.activation), std::nullopt};
}

at::Tensor add_ffn(const ModelSpec& spec, const LayerWeights& w, const at::Tensor& x_BSD,
                   const at::Tensor& y_BSD) {
  return add_branch(spec, x_BSD, y_BSD, w.ffn_norm);
}

at::Tensor head(const ModelSpec& spec, const Weights& w, const at::Tensor& x) {
  at::Tensor last = spec.final_norm ? norm(spec, x, w.norm) : x;
  if (w.project_out.defined()) last = ops::linear(last, w.project_out);
  const at::Tensor logits = ops::linear(last, w.head.defined() ? w.head : w.embed).to(at::kFloat);
  return spec.logits_divisor == 1.0 ? logits : logits / spec.logits_divisor;
}

DecoderOutput decode(const ModelSpec& spec, const Weights& w, const at::Tensor& ids_BS,
                     KvCache* cache, at::ScalarType dtype) {
  const std::int64_t start = cache != nullptr ? cache->length : 0, count = ids_BS.size(1);
  const std::int64_t room =
      cache != nullptr ? std::min(spec.context, cache->capacity) : spec.context;
  if (start + count > room) {
    fail("[decode] {} tokens, but the context is {}", start + count, room);
  }
  const Rotary angles = rotary(spec, start, count, ids_BS.device());
  DecoderOutput out;
  at::Tensor x = embed(spec, w, ids_BS, start, dtype);
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    LayerCache* layer_cache = cache != nullptr ? &cache->layers[l] : nullptr;
    x = attention_block(spec, w.layers[l], x, angles, spec.layers[l].window, layer_cache, start);
    FfnOutput branch = ffn_branch(spec, spec.layers[l], w.layers[l], x);
    x = add_ffn(spec, w.layers[l], x, branch.y_BSD);
    if (branch.routing) out.routings.push_back(std::move(*branch.routing));
  }
  if (cache != nullptr) cache->length += count;
  out.hidden_BSD = x;
  return out;
}

void check_finite_logits(const at::Tensor& logits, const ModelSpec& spec, const Weights& w,
                         const at::Tensor& ids_BS, at::ScalarType dtype) {
  if (all_finite(logits)) return;
  const at::NoGradGuard no_grad;
  at::Tensor x = embed(spec, w, ids_BS, 0, dtype);
  if (!all_finite(x)) fail("non-finite logits: the first NaN or infinity is in the embedding");
  const Rotary angles = rotary(spec, 0, ids_BS.size(1), ids_BS.device());
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    // Attention may hide a NaN among its scores, so what goes into it is looked at too.
    const Projections p = project(spec, w.layers[l], x);
    const bool finite = all_finite(p.q_BHSA) && all_finite(p.k_BGSA) && all_finite(p.v_BGSA);
    x = attention_block(spec, w.layers[l], x, angles, spec.layers[l].window, nullptr, 0);
    if (!finite || !all_finite(x)) {
      fail("non-finite logits: the first NaN or infinity is in the attention of layer {}", l);
    }
    x = add_ffn(spec, w.layers[l], x, ffn_branch(spec, spec.layers[l], w.layers[l], x).y_BSD);
    if (!all_finite(x)) {
      fail("non-finite logits: the first NaN or infinity is in the {} of layer {}",
           spec.layers[l].moe ? "MoE" : "FFN", l);
    }
  }
  fail("non-finite logits: the first NaN or infinity is in the final norm or the head");
}

}  // namespace moebius

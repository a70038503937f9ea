#include "model/decoder.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace moebius {
namespace {

TensorOps ops_for(const ModelSpec& spec, const Weights& w, const TokenBatch& batch,
                  at::ScalarType dtype) {
  if (batch.longest_sequence() > spec.context) {
    fail("[decode] a sequence of {} tokens, but the context is {}", batch.longest_sequence(),
         spec.context);
  }
  const auto [smallest, largest] = std::minmax_element(batch.ids_N.begin(), batch.ids_N.end());
  if (batch.tokens() == 0) fail("[decode] a batch without tokens");
  if (*smallest < 0 || *largest >= spec.vocab) {
    fail("[decode] ids from {} to {}, but the vocabulary has {}", *smallest, *largest, spec.vocab);
  }
  return {spec, batch, dtype, w.embed.plain().device()};
}

at::Tensor ids_of(const Weights& w, const TokenBatch& batch) {
  return at::tensor(batch.ids_N).to(w.embed.plain().device(), at::kLong);
}

}  // namespace

at::Tensor ids_tensor(std::span<const std::int32_t> ids) {
  at::Tensor tensor = at::empty({1, static_cast<std::int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor;
}

DecoderOutput decode(const ModelSpec& spec, const Weights& w, const at::Tensor& ids_BS,
                     KvCache* cache, at::ScalarType dtype) {
  const std::int64_t start = cache != nullptr ? cache->length : 0, count = ids_BS.size(1);
  const std::int64_t room =
      cache != nullptr ? std::min(spec.context, cache->capacity) : spec.context;
  if (start + count > room) {
    fail("[decode] {} tokens, but the context is {}", start + count, room);
  }
  TensorOps ops(spec, count, dtype, ids_BS.device(), cache);
  DecoderOutput out{graph::decode(ops, w, ids_BS), {}};
  out.routings = std::move(ops.routings());
  if (cache != nullptr) cache->length += count;
  return out;
}

DecoderOutput decode(const ModelSpec& spec, const Weights& w, const TokenBatch& batch,
                     at::ScalarType dtype) {
  TensorOps ops = ops_for(spec, w, batch, dtype);
  DecoderOutput out{graph::decode(ops, w, ids_of(w, batch)), {}};
  out.routings = std::move(ops.routings());
  return out;
}

at::Tensor undivided_logits(const ModelSpec& spec, const Weights& w, const at::Tensor& x) {
  TensorOps ops(spec, 0, x.scalar_type(), x.device());
  return graph::head(ops, w, x);
}

at::Tensor head(const ModelSpec& spec, const Weights& w, const at::Tensor& x) {
  const at::Tensor logits = undivided_logits(spec, w, x).to(at::kFloat);
  return spec.logits_divisor == 1.0 ? logits : logits / spec.logits_divisor;
}

void check_finite_logits(const at::Tensor& logits, const ModelSpec& spec, const Weights& w,
                         const at::Tensor& ids_BS, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  TensorOps ops(spec, ids_BS.size(1), dtype, ids_BS.device());
  if (!ops.all_finite(logits)) graph::fail_where_not_finite(ops, w, ids_BS);
}

void check_finite_logits(const at::Tensor& logits, const ModelSpec& spec, const Weights& w,
                         const TokenBatch& batch, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  TensorOps ops = ops_for(spec, w, batch, dtype);
  if (!ops.all_finite(logits)) graph::fail_where_not_finite(ops, w, ids_of(w, batch));
}

}  // namespace moebius

// The graph on tensors, as training, conversion and evaluation on other devices call it.
#pragma once

#include <span>

#include "data/token_batch.h"
#include "model/tensor_ops.h"

namespace moebius {

/// One sequence: int64 [1, S].
at::Tensor ids_tensor(std::span<const std::int32_t> ids);

struct DecoderOutput {
  at::Tensor hidden;              ///< [..., D] after the last layer, before the final norm
  std::vector<Routing> routings;  ///< of the MoE layers, in order
};
/// All layers. `cache` may be null; else it must have room for S more tokens and grows by them.
DecoderOutput decode(const ModelSpec& spec, const Weights& w, const at::Tensor& ids_BS,
                     KvCache* cache, at::ScalarType dtype);
/// All layers over the sequences of a batch, each on its own: hidden [N, D]. Throws Error for a
/// sequence longer than the context or an id outside the vocabulary.
DecoderOutput decode(const ModelSpec& spec, const Weights& w, const TokenBatch& batch,
                     at::ScalarType dtype);

/// Final norm and head: [..., V], of the type of x, which divided by `logits_divisor` are the
/// logits.
at::Tensor undivided_logits(const ModelSpec& spec, const Weights& w, const at::Tensor& x);
/// Final norm and head: the logits [..., V], f32.
at::Tensor head(const ModelSpec& spec, const Weights& w, const at::Tensor& x);

/// Throws Error unless every value of `logits` is finite: a second pass over the tokens finds the
/// layer in which the first NaN or infinity arises, which the error names.
void check_finite_logits(const at::Tensor& logits, const ModelSpec& spec, const Weights& w,
                         const at::Tensor& ids_BS, at::ScalarType dtype);
void check_finite_logits(const at::Tensor& logits, const ModelSpec& spec, const Weights& w,
                         const TokenBatch& batch, at::ScalarType dtype);

}  // namespace moebius

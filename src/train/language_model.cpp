#include "train/language_model.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "moe/balance.h"
#include "ops/cross_entropy.h"

namespace moebius {

BatchLoss language_model_loss(const Model& model, const at::Tensor& windows_BS,
                              const Balance& balance) {
  const std::int64_t batch = windows_BS.size(0), sequence = windows_BS.size(1) - 1;
  const at::Tensor& embedding = model.weights.embed;
  const at::Tensor windows = windows_BS.to(embedding.device());
  const at::Tensor inputs = windows.narrow(1, 0, sequence);
  const at::Tensor targets = windows.narrow(1, 1, sequence).flatten();
  const at::ScalarType dtype = embedding.scalar_type();

  DecoderOutput out = decode(model.spec, model.weights, inputs, nullptr, dtype);
  const at::Tensor logits =
      undivided_logits(model.spec, model.weights, out.hidden_BSD.flatten(0, 1));
  const at::Tensor cross_entropy =
      ops::cross_entropy(logits, targets, 1 / model.spec.logits_divisor);
  BatchLoss result;
  result.total = cross_entropy;
  result.loss = cross_entropy.item<double>();
  result.tokens = batch * sequence;
  if (!std::isfinite(result.loss)) {
    check_finite_logits(logits, model.spec, model.weights, inputs, dtype);
    fail("the loss is {}", result.loss);
  }
  if (!out.routings.empty()) {
    const at::Tensor loss =
        balance.pooled ? pooled_balance_loss(out.routings) : balance_loss(out.routings);
    result.balance = loss.item<double>();
    if (balance.coefficient != 0) result.total = result.total + loss * balance.coefficient;
  }
  result.routings = std::move(out.routings);
  return result;
}

LanguageModelObjective::LanguageModelObjective(std::vector<TokenShard> shards, std::int64_t batch,
                                               std::int64_t sequence, bool shuffle,
                                               std::uint64_t seed, const Balance& balance)
    : sampler_(std::move(shards), static_cast<int>(batch), static_cast<int>(sequence), shuffle,
               seed),
      batch_(batch),
      sequence_(sequence),
      balance_(balance),
      buffer_(static_cast<std::size_t>(batch * (sequence + 1))) {}

BatchLoss LanguageModelObjective::next(const Model& model) {
  sampler_.next(buffer_);
  return language_model_loss(model, ids_tensor(buffer_).view({batch_, sequence_ + 1}), balance_);
}

}  // namespace moebius

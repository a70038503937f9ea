#include "train/language_model.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "moe/balance.h"

namespace moebius {

LanguageModelObjective::LanguageModelObjective(std::vector<TokenShard> shards, std::int64_t batch,
                                               std::int64_t sequence, bool shuffle,
                                               std::uint64_t seed, double balance_coefficient,
                                               bool pooled_balance)
    : sampler_(std::move(shards), static_cast<int>(batch), static_cast<int>(sequence), shuffle,
               seed),
      batch_(batch),
      sequence_(sequence),
      balance_coefficient_(balance_coefficient),
      pooled_(pooled_balance),
      buffer_(static_cast<std::size_t>(batch * (sequence + 1))) {}

BatchLoss LanguageModelObjective::next(const Model& model) {
  sampler_.next(buffer_);
  const at::Tensor ids =
      ids_tensor(buffer_).view({batch_, sequence_ + 1}).to(model.weights.embed.plain().device());
  const at::Tensor inputs = ids.narrow(1, 0, sequence_);
  const at::Tensor targets = ids.narrow(1, 1, sequence_).flatten();

  DecoderOutput out = decode(model.spec, model.weights, inputs, nullptr, at::kFloat);
  const at::Tensor logits = head(model.spec, model.weights, out.hidden_BSD.flatten(0, 1));
  const at::Tensor cross_entropy = at::cross_entropy_loss(logits, targets);
  BatchLoss result;
  result.total = cross_entropy;
  result.loss = cross_entropy.item<double>();
  result.tokens = batch_ * sequence_;
  if (!std::isfinite(result.loss)) {
    check_finite_logits(logits, model.spec, model.weights, inputs, at::kFloat);
    fail("the loss is {}", result.loss);
  }
  if (!out.routings.empty()) {
    const at::Tensor balance =
        pooled_ ? pooled_balance_loss(out.routings) : balance_loss(out.routings);
    result.balance = balance.item<double>();
    if (balance_coefficient_ != 0) result.total = result.total + balance * balance_coefficient_;
  }
  result.routings = std::move(out.routings);
  return result;
}

}  // namespace moebius

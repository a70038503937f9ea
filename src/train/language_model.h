#pragma once

#include <string>
#include <vector>

#include "data/batch_sampler.h"
#include "moe/training/balance_loss.h"
#include "train/objective.h"

namespace moebius {

/// Mean cross entropy of the targets of a batch, weighted by its weights, computed in the type of
/// the model's weights, plus the balance loss. Records `loss` (the cross entropy, nats per token),
/// `balance_loss` (before its coefficient) and the routing of every MoE layer.
at::Tensor language_model_loss(const Model& model, const TokenBatch& batch, const Balance& balance,
                               Metrics& metrics);

/// Next-token prediction on windows of token shards.
class LanguageModelObjective : public Objective {
 public:
  /// `sources`: the data files by name, in the order of the sampler's shards.
  LanguageModelObjective(BatchSampler sampler, std::vector<std::string> sources,
                         const Balance& balance);

  TokenBatch draw() override { return sampler_.next(); }
  at::Tensor loss(const Model& model, const TokenBatch& batch, Metrics& metrics) override {
    return language_model_loss(model, batch, balance_, metrics);
  }
  Json state() const override;
  void restore(const Json& state) override;

 private:
  BatchSampler sampler_;
  std::vector<std::string> sources_;
  Balance balance_;
};

}  // namespace moebius

#pragma once

#include "data/shards.h"
#include "train/objective.h"

namespace moebius {

/// How the balance loss counts: its coefficient, and whether all layers are pooled.
struct Balance {
  double coefficient = 0;
  bool pooled = false;
};

/// Mean cross entropy of the next token over windows [B, S + 1], computed in the type of the
/// weights, plus the balance loss. Throws Error, naming the layer, if it is not finite.
BatchLoss language_model_loss(const Model& model, const at::Tensor& windows_BS,
                              const Balance& balance);

/// That of batches drawn from shards.
class LanguageModelObjective : public Objective {
 public:
  LanguageModelObjective(std::vector<TokenShard> shards, std::int64_t batch, std::int64_t sequence,
                         bool shuffle, std::uint64_t seed, const Balance& balance);

  BatchLoss next(const Model& model) override;
  std::int64_t position() const override { return sampler_.position(); }
  void seek(std::int64_t position) override { sampler_.seek(position); }
  /// Windows of an epoch.
  std::int64_t windows() const { return sampler_.windows(); }

 private:
  BatchSampler sampler_;
  std::int64_t batch_, sequence_;
  Balance balance_;
  std::vector<std::int32_t> buffer_;
};

}  // namespace moebius

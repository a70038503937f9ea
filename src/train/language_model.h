#pragma once

#include "data/shards.h"
#include "train/objective.h"

namespace moebius {

/// Mean cross entropy of the next token, plus the balance loss.
class LanguageModelObjective : public Objective {
 public:
  LanguageModelObjective(std::vector<TokenShard> shards, std::int64_t batch, std::int64_t sequence,
                         bool shuffle, std::uint64_t seed, double balance_coefficient,
                         bool pooled_balance);

  BatchLoss next(const Model& model) override;
  std::int64_t position() const override { return sampler_.position(); }
  void seek(std::int64_t position) override { sampler_.seek(position); }
  /// Windows of an epoch.
  std::int64_t windows() const { return sampler_.windows(); }

 private:
  BatchSampler sampler_;
  std::int64_t batch_, sequence_;
  double balance_coefficient_;
  bool pooled_;
  std::vector<std::int32_t> buffer_;
};

}  // namespace moebius

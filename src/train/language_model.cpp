#include "train/language_model.h"

#include <ATen/ATen.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "moe/collect_routing.h"
#include "ops/token_log_probs.h"

namespace moebius {
namespace {

/// Rows of a batch whose targets count, as int64 [M]; undefined if all do.
at::Tensor counted_rows(const TokenBatch& batch) {
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < batch.weights_N.size(); ++i) {
    if (batch.weights_N[i] != 0) rows.push_back(static_cast<std::int64_t>(i));
  }
  if (std::ssize(rows) == batch.tokens()) return {};
  return at::tensor(rows, at::kLong);
}

}  // namespace

at::Tensor language_model_loss(const Model& model, const TokenBatch& batch, const Balance& balance,
                               Metrics& metrics) {
  const at::Tensor& embedding = model.weights.embed.plain();
  const at::Device device = embedding.device();
  const at::ScalarType dtype = embedding.scalar_type();
  const double total_weight = batch.total_weight();
  if (total_weight <= 0) fail("no token of the batch counts in the loss");

  const DecoderOutput out = decode(model.spec, model.weights, batch, dtype);
  at::Tensor hidden_MD = out.hidden;
  at::Tensor targets_M = at::tensor(batch.targets_N).to(device, at::kLong);
  at::Tensor weights_M = at::tensor(batch.weights_N).to(device, at::kDouble);
  if (at::Tensor rows_M = counted_rows(batch); rows_M.defined()) {
    rows_M = rows_M.to(device);
    hidden_MD = hidden_MD.index_select(0, rows_M);
    targets_M = targets_M.index_select(0, rows_M);
    weights_M = weights_M.index_select(0, rows_M);
  }
  const at::Tensor scores_MV = undivided_logits(model.spec, model.weights, hidden_MD);
  const at::Tensor log_probs_M =
      ops::token_log_probs(scores_MV, targets_M, 1 / model.spec.logits_divisor);
  const at::Tensor cross_entropy = (-(log_probs_M * weights_M).sum() / total_weight).to(at::kFloat);
  const double value = cross_entropy.item<double>();
  if (!std::isfinite(value)) {
    check_finite_logits(scores_MV, model.spec, model.weights, batch, dtype);
    fail("the loss is {}", value);
  }
  metrics.add_mean("loss", value, total_weight);
  if (out.routings.empty()) return cross_entropy;
  const at::Tensor loss = balance.loss(out.routings);
  metrics.add_mean("balance_loss", loss.item<double>(), total_weight);
  metrics.add_routing(collect_routing(model.spec, out.routings));
  return balance.coefficient == 0 ? cross_entropy : cross_entropy + loss * balance.coefficient;
}

LanguageModelObjective::LanguageModelObjective(BatchSampler sampler,
                                               std::vector<std::string> sources,
                                               const Balance& balance)
    : sampler_(std::move(sampler)), sources_(std::move(sources)), balance_(balance) {
  if (sources_.size() != sampler_.shards().size()) {
    fail("[LanguageModelObjective] {} names for {} shards", sources_.size(),
         sampler_.shards().size());
  }
}

Json LanguageModelObjective::state() const {
  Json sources = Json::array();
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    sources.push_back({{"file", fs::path(sources_[i]).filename().string()},
                       {"digest", sampler_.shards()[i].source_digest()}});
  }
  return {{"position", sampler_.position()},
          {"sequence", sampler_.sequence()},
          {"shuffle", sampler_.shuffles()},
          {"sources", std::move(sources)}};
}

void LanguageModelObjective::restore(const Json& state) {
  const Json now = this->state();
  const auto refuse = [](const std::string& what) {
    throw Error("the run cannot go on: " + what,
                "resume with the data and options of the run, or start a new one");
  };
  for (const char* option : {"sequence", "shuffle"}) {
    if (state.value(option, Json()) != now[option]) {
      refuse(fmt::format("--{} was {}, now {}", option, state.value(option, Json()).dump(),
                         now[option].dump()));
    }
  }
  const Json before = state.value("sources", Json::array());
  if (before.size() != now["sources"].size()) {
    refuse(fmt::format("it had {} data files, now {}", before.size(), now["sources"].size()));
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    const Json& source = now["sources"][i];
    if (before[i] != source) {
      refuse(fmt::format(
          "data file {} was {}, now it is {}{}", i + 1, before[i].value("file", std::string("?")),
          source["file"].get<std::string>(),
          before[i].value("file", Json()) == source["file"] ? " with other content" : ""));
    }
  }
  sampler_.seek(state.value("position", std::int64_t{-1}));
}

}  // namespace moebius

#include "convert/prompts.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "convert/calibrate.h"
#include "convert/router.h"
#include "data/model_vocabulary.h"
#include "model/load.h"

namespace moebius {
namespace {

/// Tokens of one prompt among those of all.
struct Stretch {
  std::size_t expert;
  bool positive;
  std::int64_t begin, end;
};

/// All prompts as sequences, and the range of tokens of each.
class PromptTexts {
 public:
  PromptTexts(const Source& source, const Tokenizer& tokenizer, const LayerPlan& plan)
      : source_(source), tokenizer_(tokenizer) {
    for (std::size_t e = 0; e < plan.prompts.size(); ++e) {
      for (const std::string& text : plan.prompts[e].positive) add(text, e, true);
      for (const std::string& text : plan.prompts[e].negative) add(text, e, false);
    }
  }

  std::vector<at::Tensor> sequences;
  std::vector<Stretch> stretches;

 private:
  void add(const std::string& text, std::size_t expert, bool positive) {
    const auto ids = tokenizer_.encode(text), bare = tokenizer_.encode(text, false);
    if (bare.empty()) fail("prompts: expert {} has an empty prompt", expert);
    check_ids(source_.spec, ids);
    if (static_cast<std::int64_t>(ids.size()) > source_.spec.context) {
      fail("prompts: one of expert {} has {} tokens, the model's context is {}", expert, ids.size(),
           source_.spec.context);
    }
    const auto at = std::search(ids.begin(), ids.end(), bare.begin(), bare.end());
    const bool found = at != ids.end();
    const std::int64_t begin = tokens_ + (found ? at - ids.begin() : 0);
    const std::size_t count = found ? bare.size() : ids.size();
    stretches.push_back({expert, positive, begin, begin + static_cast<std::int64_t>(count)});
    sequences.push_back(ids_tensor(ids));
    tokens_ += static_cast<std::int64_t>(ids.size());
  }

  const Source& source_;
  const Tokenizer& tokenizer_;
  std::int64_t tokens_ = 0;
};

at::Tensor mean_input(const at::Tensor& x_TD, const std::vector<Stretch>& stretches,
                      std::size_t expert, bool positive) {
  std::vector<at::Tensor> rows;
  for (const Stretch& s : stretches) {
    if (s.expert == expert && s.positive == positive)
      rows.push_back(x_TD.narrow(0, s.begin, s.end - s.begin));
  }
  return rows.empty() ? at::zeros({x_TD.size(1)}) : at::cat(rows).mean(0);
}

void warn_of_twins(const at::Tensor& rows_ED, std::int64_t layer, const Context& ctx) {
  constexpr double too_close = 0.95;
  const at::Tensor unit = rows_ED / rows_ED.norm(2, 1, true).clamp_min(1e-12);
  const at::Tensor cosine = at::matmul(unit, unit.t());
  for (std::int64_t a = 0; a < cosine.size(0); ++a) {
    for (std::int64_t b = a + 1; b < cosine.size(0); ++b) {
      if (cosine[a][b].item<double>() < too_close) continue;
      ctx.log.warn("layer {}: the prompts of experts {} and {} hardly differ there", layer, a, b);
    }
  }
}

}  // namespace

std::map<std::int64_t, std::vector<float>> prompt_routers(const Source& source,
                                                          const Tokenizer& tokenizer,
                                                          const LayerPlan& plan,
                                                          const Context& ctx) {
  const auto experts = static_cast<std::size_t>(plan.options.experts);
  if (plan.prompts.size() != experts) {
    throw Error(fmt::format("--router prompts: prompts for {} experts, and there are {}",
                            plan.prompts.size(), experts),
                "give each its own in the plan file, under prompts");
  }
  const PromptTexts texts(source, tokenizer, plan);
  std::map<std::int64_t, std::vector<float>> routers;
  trace_layers(source, plan.layers, texts.sequences, ctx, [&](const FfnTrace& trace) {
    std::vector<at::Tensor> directions, counted;
    for (std::size_t e = 0; e < experts; ++e) {
      directions.push_back(mean_input(trace.x_TD, texts.stretches, e, true) -
                           mean_input(trace.x_TD, texts.stretches, e, false));
    }
    for (const Stretch& s : texts.stretches) {
      counted.push_back(trace.x_TD.narrow(0, s.begin, s.end - s.begin));
    }
    const at::Tensor rows = rows_towards(at::stack(directions), at::cat(counted));
    warn_of_twins(rows, trace.layer, ctx);
    routers[trace.layer] = values_of(rows);
  });
  return routers;
}

}  // namespace moebius

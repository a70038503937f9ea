#include "eval/evaluate.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cmath>

#include "base/progress.h"
#include "data/corpus.h"
#include "hub/resolve.h"
#include "infer/generate.h"
#include "model/device.h"

namespace moebius {
namespace {

/// Sums over the windows of one text.
struct Sums {
  double nll = 0, kl = 0;
  std::int64_t tokens = 0, agreements = 0;
  std::vector<at::Tensor> counts_E, entropy;  ///< by MoE layer, f64
  std::int64_t routed = 0;
};

constexpr std::int64_t rows_at_once = 256;  // bounds the logits held at once: 256 x V

at::Tensor hidden_rows(const Model& model, const at::Tensor& ids_BS, Sums* sums) {
  DecoderOutput out = decode(model.spec, model.weights, ids_BS, nullptr, compute_dtype(model));
  if (sums != nullptr) {
    if (sums->counts_E.empty()) {
      for (const Routing& r : out.routings) {
        sums->counts_E.push_back(at::zeros({r.logits_TE.size(1)}, at::kDouble));
        sums->entropy.push_back(at::zeros({}, at::kDouble));
      }
    }
    for (std::size_t m = 0; m < out.routings.size(); ++m) {
      const Routing& r = out.routings[m];
      sums->counts_E[m] += at::bincount(r.ids_TK.flatten(), {}, r.logits_TE.size(1)).to(at::kCPU);
      const at::Tensor log_p = at::log_softmax(r.logits_TE, -1);
      sums->entropy[m] -= (log_p.exp() * log_p).sum(at::kDouble).to(at::kCPU);
    }
    sums->routed += ids_BS.numel();
  }
  return out.hidden_BSD.flatten(0, 1);
}

void add_window(const Model& model, const Model* reference, std::span<const std::int32_t> window,
                Sums& sums) {
  const auto length = static_cast<std::int64_t>(window.size());
  const at::Tensor ids = ids_tensor(window).to(model.weights.embed.plain().device());
  const at::Tensor hidden = hidden_rows(model, ids, &sums);
  const at::Tensor reference_hidden =
      reference != nullptr ? hidden_rows(*reference, ids, nullptr) : at::Tensor();
  const at::Tensor targets = ids[0].narrow(0, 1, length - 1);
  for (std::int64_t row = 0; row < length - 1; row += rows_at_once) {
    const std::int64_t count = std::min(rows_at_once, length - 1 - row);
    const at::Tensor logits = head(model.spec, model.weights, hidden.narrow(0, row, count));
    check_finite_logits(logits, model.spec, model.weights, ids, compute_dtype(model));
    const at::Tensor log_p = at::log_softmax(logits, -1);
    sums.nll -=
        log_p.gather(1, targets.narrow(0, row, count).unsqueeze(1)).sum(at::kDouble).item<double>();
    if (reference != nullptr) {
      const Divergence d = divergence(
          head(reference->spec, reference->weights, reference_hidden.narrow(0, row, count)),
          logits);
      sums.kl += d.kl_sum;
      sums.agreements += d.agreements;
    }
  }
  sums.tokens += length - 1;
}

std::vector<LayerRouting> routing_of(const Model& model, const Sums& sums) {
  std::vector<LayerRouting> rows;
  std::size_t m = 0;
  for (std::size_t l = 0; l < model.spec.layers.size() && m < sums.counts_E.size(); ++l) {
    if (!model.spec.layers[l].moe) continue;
    LayerRouting row;
    row.layer = static_cast<std::int64_t>(l);
    const at::Tensor share_E = sums.counts_E[m] / sums.counts_E[m].sum();
    for (std::int64_t e = 0; e < share_E.numel(); ++e) {
      const double share = share_E[e].item<double>();
      row.share.push_back(share);
      if (share == 0) {
        row.dead.push_back(e);
      } else {
        row.entropy -= share * std::log(share);
      }
    }
    row.router_entropy = sums.entropy[m].item<double>() / static_cast<double>(sums.routed);
    rows.push_back(std::move(row));
    ++m;
  }
  return rows;
}

}  // namespace

void EvalOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  Option& files = options.add("data", data, "text files, or .jsonl with one document a line");
  files.many = files.required = true;
  options.add("key", key, "key of the text in .jsonl rows");
  options.add("context", context,
              "tokens of a window (default: the smaller of 1024 and the model's)");
  options.add("reference", reference, "model to compare with: adds kl and top1_agreement");
  options.choice("weights", weights, "what to compute with (default: as stored)",
                 {"f32", "bf16", "int8", "int4"});
}

Divergence divergence(const at::Tensor& reference_NV, const at::Tensor& model_NV) {
  const at::Tensor log_p = at::log_softmax(reference_NV.to(at::kDouble), -1);
  const at::Tensor log_q = at::log_softmax(model_NV.to(at::kDouble), -1);
  Divergence d;
  d.kl_sum = (log_p.exp() * (log_p - log_q)).sum().item<double>();
  d.agreements = (reference_NV.argmax(-1) == model_NV.argmax(-1)).sum().item<std::int64_t>();
  return d;
}

EvalResult evaluate_ids(const Model& model, std::span<const std::int32_t> ids, std::int64_t context,
                        const Model* reference, const Context& ctx) {
  const at::InferenceMode inference;
  const auto start = std::chrono::steady_clock::now();
  Progress progress(ctx, "eval", static_cast<double>(ids.size()), "tokens");
  Sums sums;
  for (std::size_t at = 0; at + 1 < ids.size(); at += static_cast<std::size_t>(context)) {
    ctx.check_interrupt();
    add_window(model, reference,
               ids.subspan(at, std::min(static_cast<std::size_t>(context), ids.size() - at)), sums);
    progress.update(static_cast<double>(at));
  }
  if (sums.tokens == 0) fail("{} tokens are too few to predict any", ids.size());
  const auto tokens = static_cast<double>(sums.tokens);
  EvalResult result;
  result.tokens = sums.tokens;
  result.routed = sums.routed;
  result.nll = sums.nll / tokens;
  result.perplexity = std::exp(result.nll);
  if (reference != nullptr) {
    result.kl = sums.kl / tokens;
    result.top1_agreement = static_cast<double>(sums.agreements) / tokens;
  }
  result.layers = routing_of(model, sums);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

EvalResult merge_results(std::span<const EvalResult> results) {
  EvalResult total = results[0];
  total.name = "all";
  if (results.size() == 1) return total;
  double tokens = 0, routed = 0, nll = 0, kl = 0, agreement = 0;
  total.seconds = 0;
  for (LayerRouting& row : total.layers) {
    std::fill(row.share.begin(), row.share.end(), 0.0);
    row.router_entropy = 0;
  }
  for (const EvalResult& each : results) {
    const auto weight = static_cast<double>(each.tokens);
    const auto passed = static_cast<double>(each.routed);
    tokens += weight;
    routed += passed;
    nll += each.nll * weight;
    kl += each.kl.value_or(0) * weight;
    agreement += each.top1_agreement.value_or(0) * weight;
    total.seconds += each.seconds;
    for (std::size_t l = 0; l < total.layers.size(); ++l) {
      total.layers[l].router_entropy += each.layers[l].router_entropy * passed;
      for (std::size_t e = 0; e < total.layers[l].share.size(); ++e) {
        total.layers[l].share[e] += each.layers[l].share[e] * passed;
      }
    }
  }
  total.tokens = static_cast<std::int64_t>(tokens);
  total.routed = static_cast<std::int64_t>(routed);
  total.nll = nll / tokens;
  total.perplexity = std::exp(total.nll);
  if (total.kl) total.kl = kl / tokens;
  if (total.top1_agreement) total.top1_agreement = agreement / tokens;
  for (LayerRouting& row : total.layers) {
    row.router_entropy /= routed;
    row.entropy = 0;
    row.dead.clear();
    for (std::size_t e = 0; e < row.share.size(); ++e) {
      row.share[e] /= routed;
      if (row.share[e] == 0) {
        row.dead.push_back(static_cast<std::int64_t>(e));
      } else {
        row.entropy -= row.share[e] * std::log(row.share[e]);
      }
    }
  }
  return total;
}

EvalReport evaluate(const EvalOptions& options, const Context& ctx) {
  const fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const Model model = load_for_inference(directory, options.weights, ctx);
  check_vocabulary(model.spec, tokenizer, options.model);
  std::optional<Model> reference;
  if (!options.reference.empty()) {
    const bool packed = options.weights == "int8" || options.weights == "int4";
    reference = load_for_inference(resolve_model(options.reference, ModelParts::all, ctx),
                                   packed ? "" : options.weights, ctx);
    if (reference->spec.vocab != model.spec.vocab) {
      fail("{}: the reference's vocabulary has {} ids, the model's {}", options.reference.string(),
           reference->spec.vocab, model.spec.vocab);
    }
  }
  const std::int64_t longest =
      std::min(model.spec.context, reference ? reference->spec.context : model.spec.context);
  const std::int64_t context =
      options.context != 0 ? options.context : std::min<std::int64_t>(1024, longest);
  if (context < 2 || context > longest) {
    fail("--context {}: must be in [2, {}], the model's longest", context, longest);
  }
  std::optional<std::int64_t> eos;
  if (!model.spec.eos.empty()) eos = model.spec.eos[0];
  EvalReport report;
  for (const std::string& file : options.data) {
    const auto ids = tokenize_file(file, options.key, tokenizer, eos);
    if (ids.size() < 2) fail("{}: {} tokens are too few to predict any", file, ids.size());
    report.domains.push_back(
        evaluate_ids(model, ids, context, reference ? &*reference : nullptr, ctx));
    report.domains.back().name = fs::path(file).filename().string();
  }
  report.total = merge_results(report.domains);
  return report;
}

}  // namespace moebius

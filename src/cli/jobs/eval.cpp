#include "eval/run.h"

#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace moebius::cli {
namespace {

Json to_json(const EvalResult& result) {
  Json out;
  out["name"] = result.name;
  out["tokens"] = result.tokens;
  out["nll"] = result.nll;
  out["perplexity"] = result.perplexity;
  if (result.kl) out["kl"] = *result.kl;
  if (result.top1_agreement) out["top1_agreement"] = *result.top1_agreement;
  out["seconds"] = result.seconds;
  if (result.layers.empty()) return out;
  for (const LayerRouting& row : result.layers) {
    out["layers"].push_back({{"layer", row.layer},
                             {"share", row.share},
                             {"entropy", row.entropy},
                             {"router_entropy", row.router_entropy},
                             {"dead", row.dead}});
  }
  return out;
}

void print_row(const EvalResult& result) {
  std::string divergence;
  if (result.kl) {
    divergence = fmt::format("  {:>10.6f}  {:>9.4f}", *result.kl, *result.top1_agreement);
  }
  print(fmt::format("{:<28} {:>9} {:>9.4f} {:>11.4f}{}\n", result.name, result.tokens, result.nll,
                    result.perplexity, divergence));
}

}  // namespace

void run_eval(const Command& self, const Arguments& arguments) {
  const Invocation<EvalOptions> call(self, arguments);
  const EvalReport report = evaluate(call.job, call.ctx);
  if (call.common.json) {
    Json out = to_json(report.total);
    if (report.domains.size() > 1) {
      for (const EvalResult& each : report.domains) out["domains"].push_back(to_json(each));
    }
    return print_json(out);
  }
  print(fmt::format("{:<28} {:>9} {:>9} {:>11}{}\n", "text", "tokens", "nll", "perplexity",
                    report.total.kl ? fmt::format("  {:>10}  {:>9}", "kl", "agreement") : ""));
  for (const EvalResult& each : report.domains) print_row(each);
  if (report.domains.size() > 1) print_row(report.total);
  for (const LayerRouting& row : report.total.layers) {
    std::string shares;
    for (const double share : row.share) shares += fmt::format(" {:.3f}", share);
    print(fmt::format("layer {:>3}  entropy {:.3f}  share{}{}\n", row.layer, row.entropy, shares,
                      row.dead.empty() ? "" : fmt::format("  dead: {}", row.dead.size())));
  }
}

}  // namespace moebius::cli

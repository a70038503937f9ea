#include "eval/evaluate.h"

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
  for (const std::size_t l : result.routing.moe_layers()) {
    const RouterStatistics& router = result.routing.layers[l];
    out["layers"].push_back({{"layer", l},
                             {"share", router.share_E()},
                             {"entropy", router.load_entropy()},
                             {"router_entropy", router.router_entropy()},
                             {"dead", router.dead_experts()}});
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
  for (const std::size_t l : report.total.routing.moe_layers()) {
    const RouterStatistics& router = report.total.routing.layers[l];
    const std::size_t dead = router.dead_experts().size();
    print(fmt::format("layer {:>3}  entropy {:.3f}  share {:.3f}{}\n", l, router.load_entropy(),
                      fmt::join(router.share_E(), " "),
                      dead == 0 ? "" : fmt::format("  dead: {}", dead)));
  }
}

}  // namespace moebius::cli

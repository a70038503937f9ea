#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "data/synth.h"

namespace moebius::cli {

namespace {

struct SynthCommandOptions : SynthOptions {
  void declare(OptionSet& options) {
    options.add("out", out, "directory to write").required = true;
    options.add("samples", samples, "samples a domain").at_least(2);
    options.add("heldout", heldout, "share of them that is held out");
  }
};

}  // namespace

void run_data_synth(const Command& self, const Arguments& arguments) {
  const Invocation<SynthCommandOptions> call(self, arguments);
  const SynthReport report = synthesise(call.job, call.ctx);
  Json domains = Json::array();
  for (const auto& domain : report.domains) {
    domains.push_back({{"name", domain.name},
                       {"train", domain.train},
                       {"heldout", domain.heldout},
                       {"bytes", domain.bytes}});
    if (call.common.json) continue;
    print(fmt::format("{:<8} {:>6} samples to train on, {:>5} held out, {:>8} bytes\n", domain.name,
                      domain.train, domain.heldout, domain.bytes));
  }
  if (call.common.json) print_json({{"out", call.job.out.string()}, {"domains", domains}});
}

}  // namespace moebius::cli

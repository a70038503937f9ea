#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "data/synth.h"

namespace moebius::cli {

void run_data_synth(const Command& self, const std::vector<std::string>& arguments) {
  SynthOptions job;
  OptionSet options;
  options.add("out", job.out, "directory to write").required = true;
  options.add("samples", job.samples, "samples a domain");
  options.add("heldout", job.heldout, "share of them that is held out");
  CommonOptions common;
  Context ctx = begin(self, arguments, options, common);
  job.overwrite = common.overwrite;
  const SynthReport report = synthesise(job, ctx);
  Json domains = Json::array();
  for (const auto& domain : report.domains) {
    domains.push_back({{"name", domain.name},
                       {"train", domain.train},
                       {"heldout", domain.heldout},
                       {"bytes", domain.bytes}});
    if (common.json) continue;
    print(fmt::format("{:<8} {:>6} samples to train on, {:>5} held out, {:>8} bytes\n", domain.name,
                      domain.train, domain.heldout, domain.bytes));
  }
  if (common.json) print_json({{"out", job.out.string()}, {"domains", domains}});
}

}  // namespace moebius::cli

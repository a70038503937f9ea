#include "quantize/run.h"

#include <nlohmann/json.hpp>

#include "cli/command.h"

namespace moebius::cli {

void run_quantize(const Command& self, const std::vector<std::string>& arguments) {
  QuantizeOptions job;
  OptionSet options;
  job.declare(options);
  CommonOptions common;
  const Context ctx = begin(self, arguments, options, common);
  job.overwrite = common.overwrite;
  const QuantizeReport report = quantize(job, ctx);
  if (common.json) {
    return print_json({{"out", job.out.string()},
                       {"weights", job.weights},
                       {"bits_per_weight", report.bits},
                       {"source_bytes", report.source_bytes},
                       {"bytes", report.bytes},
                       {"seconds", report.seconds}});
  }
  print(fmt::format("saved {}: {} at {:.2f} bits a weight, {:.3f} GB of {:.3f} GB, in {:.2f} s\n",
                    job.out.string(), job.weights, report.bits,
                    static_cast<double>(report.bytes) / 1e9,
                    static_cast<double>(report.source_bytes) / 1e9, report.seconds));
}

}  // namespace moebius::cli

#include "quantize/run.h"

#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace moebius::cli {

void run_quantize(const Command& self, const Arguments& arguments) {
  const Invocation<QuantizeOptions> call(self, arguments);
  const QuantizeReport report = quantize(call.job, call.ctx);
  if (call.common.json) {
    return print_json({{"out", call.job.out.string()},
                       {"weights", call.job.weights},
                       {"bits_per_weight", report.bits},
                       {"source_bytes", report.source_bytes},
                       {"bytes", report.bytes},
                       {"seconds", report.seconds}});
  }
  print(fmt::format("saved {}: {} at {:.2f} bits a weight, {:.3f} GB of {:.3f} GB, in {:.2f} s\n",
                    call.job.out.string(), call.job.weights, report.bits,
                    static_cast<double>(report.bytes) / 1e9,
                    static_cast<double>(report.source_bytes) / 1e9, report.seconds));
}

}  // namespace moebius::cli

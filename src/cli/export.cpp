#include <nlohmann/json.hpp>

#include "base/staged.h"
#include "cli/commands.h"
#include "gguf/export.h"
#include "hub/resolve.h"

namespace moebius::cli {

void run_export(const Command& self, const Arguments& arguments) {
  const Invocation<ExportOptions> call(self, arguments);
  check_output_file(call.job.out, call.job.overwrite);
  const ExportReport report =
      export_gguf(resolve_model(call.job.model, ModelParts::all, call.ctx), call.job, call.ctx);
  if (call.common.json) {
    return print_json({{"out", call.job.out.string()},
                       {"architecture", report.architecture},
                       {"tensors", report.tensors},
                       {"bytes", report.bytes},
                       {"seconds", report.seconds}});
  }
  print(fmt::format("saved {} ({} in llama.cpp): {} tensors, {:.3f} GB in {:.2f} s\n",
                    call.job.out.string(), report.architecture, report.tensors,
                    static_cast<double>(report.bytes) / 1e9, report.seconds));
}

}  // namespace moebius::cli

#include <nlohmann/json.hpp>

#include "base/staged.h"
#include "cli/command.h"
#include "gguf/export.h"
#include "hub/resolve.h"

namespace moebius::cli {

void run_export(const Command& self, const std::vector<std::string>& arguments) {
  ExportOptions job;
  OptionSet options;
  job.declare(options);
  CommonOptions common;
  const Context ctx = begin(self, arguments, options, common);
  job.overwrite = common.overwrite;
  check_output_file(job.out, job.overwrite);
  const ExportReport report = export_gguf(resolve_model(job.model, ModelParts::all, ctx), job, ctx);
  if (common.json) {
    return print_json({{"out", job.out.string()},
                       {"architecture", report.architecture},
                       {"tensors", report.tensors},
                       {"bytes", report.bytes},
                       {"seconds", report.seconds}});
  }
  print(fmt::format("saved {} ({} in llama.cpp): {} tensors, {:.3f} GB in {:.2f} s\n",
                    job.out.string(), report.architecture, report.tensors,
                    static_cast<double>(report.bytes) / 1e9, report.seconds));
}

}  // namespace moebius::cli

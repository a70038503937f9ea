#include "cli/command.h"
#include "demo/run.h"

namespace moebius::cli {

void run_demo(const Command& self, const std::vector<std::string>& arguments) {
  DemoOptions job;
  OptionSet options;
  job.declare(options);
  CommonOptions common;
  common.declare(options);
  const Context ctx = begin(self, arguments, options, common);
  job.overwrite = common.overwrite;
  moebius::run_demo(job, ctx, [](std::string_view text) { print(text); });
}

}  // namespace moebius::cli

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "demo/run.h"

namespace moebius::cli {

void run_demo(const Command& self, const std::vector<std::string>& arguments) {
  DemoOptions job;
  OptionSet options;
  job.declare(options);
  CommonOptions common;
  const Context ctx = begin(self, arguments, options, common);
  job.overwrite = common.overwrite;
  job.config_echo = echo_config(options);
  moebius::run_demo(job, ctx, [&](std::string_view text) {
    if (!common.json) print(text);
  });
  if (common.json) print_json(parse_json_file(job.out / "demo.json"));
}

}  // namespace moebius::cli

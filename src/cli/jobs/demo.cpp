#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "demo/demo.h"

namespace moebius::cli {

void run_demo(const Command& self, const Arguments& arguments) {
  const Invocation<DemoOptions> call(self, arguments);
  moebius::run_demo(call.job, call.ctx, [&](std::string_view text) {
    if (!call.common.json) print(text);
  });
  if (call.common.json) print_json(parse_json_file(call.job.out / "demo.json"));
}

}  // namespace moebius::cli

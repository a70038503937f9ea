#include "train/train.h"

#include <nlohmann/json.hpp>

#include "cli/command.h"

namespace moebius::cli {

void run_train(const Command& self, const std::vector<std::string>& arguments) {
  TrainOptions job;
  OptionSet options;
  job.declare(options);
  CommonOptions common;
  const Context ctx = begin(self, arguments, options, common);
  job.overwrite = common.overwrite;
  job.loop.config_echo = echo_config(options);
  const TrainReport report = train(job, ctx);
  if (common.json) {
    return print_json({{"steps", report.steps},
                       {"tokens", report.tokens},
                       {"first_loss", report.first_loss},
                       {"last_loss", report.last_loss},
                       {"seconds", report.seconds},
                       {"tokens_per_s", report.tokens_per_s},
                       {"model", report.model.string()}});
  }
  print(fmt::format("{} steps, {} tokens, loss {:.4f} -> {:.4f}, {:.0f} tokens/s\nsaved {}\n",
                    report.steps, report.tokens, report.first_loss, report.last_loss,
                    report.tokens_per_s, report.model.string()));
}

}  // namespace moebius::cli

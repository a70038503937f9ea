#include "train/train.h"

#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace moebius::cli {

void run_train(const Command& self, const Arguments& arguments) {
  const Invocation<TrainOptions> call(self, arguments);
  const TrainReport report = train(call.job, call.ctx);
  if (call.common.json) {
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

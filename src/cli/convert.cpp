#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "convert/run.h"

namespace moebius::cli {

void run_convert(const Command& self, const std::vector<std::string>& arguments) {
  ConvertOptions job;
  OptionSet options;
  job.declare(options);
  CommonOptions common;
  common.declare(options);
  const Context ctx = begin(self, arguments, options, common);
  job.overwrite = common.overwrite;
  const ConversionReport report = convert(job, ctx);
  if (common.json) return print_json(parse_json_file(job.out / "conversion.json"));
  print(fmt::format("{:>6}  {:>7}  {:>5}  {:>10}  {:>10}  {:>9}\n", "layer", "experts", "top-k",
                    "ffn_error", "kl", "agreement"));
  for (const LayerRecord& row : report.layers) {
    print(fmt::format("{:>6}  {:>7}  {:>5}  {:>10.3g}  {:>10.3g}  {:>9.3f}  {}\n", row.layer,
                      row.experts, row.top_k, row.ffn_error, row.kl, row.agreement,
                      row.kept ? "" : "reverted: " + row.reason));
  }
  print(fmt::format("max |logit difference| / max |logit| = {:.3g} against the dense model\n",
                    report.dense_exact));
  print(fmt::format("{:.3f} M parameters, {:.3f} M active; {:.3f} GB written in {:.2f} s\n",
                    static_cast<double>(report.parameters) / 1e6,
                    static_cast<double>(report.active_parameters) / 1e6,
                    static_cast<double>(report.bytes) / 1e9, report.seconds));
  print(fmt::format("saved {} ({} in transformers{})\n", job.out.string(), report.architecture,
                    report.architecture == "MoebiusForCausalLM" ? ", trust_remote_code=True" : ""));
  if (!report.sample.empty()) {
    print(fmt::format("it continues \"{}\" with \"{}\"\n", job.test_prompt, report.sample));
  }
}

}  // namespace moebius::cli

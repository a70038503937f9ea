#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "convert/convert.h"
#include "convert/forecast.h"

namespace moebius::cli {
namespace {

void print_forecast(const ConversionForecast& forecast, bool json) {
  const auto& [layers, source, result, bytes, seconds] = forecast;
  const double ratio =
      static_cast<double>(result.flops_per_token) / static_cast<double>(source.flops_per_token);
  if (json) {
    return print_json({{"layers", layers},
                       {"parameters", result.parameters},
                       {"active_parameters", result.active_parameters},
                       {"flops_per_token", result.flops_per_token},
                       {"source_flops_per_token", source.flops_per_token},
                       {"bytes", bytes},
                       {"seconds", seconds ? Json(*seconds) : Json()}});
  }
  const auto millions = [](std::int64_t count) { return static_cast<double>(count) / 1e6; };
  print(fmt::format("layers             {}\n", fmt::join(layers, " ")));
  print(fmt::format("parameters         {:.3f} M, {:.3f} M active (source: {:.3f} M)\n",
                    millions(result.parameters), millions(result.active_parameters),
                    millions(source.parameters)));
  print(fmt::format("FLOPs per token    {:.3f} M, {:.2f} x the source's: {}\n",
                    millions(result.flops_per_token), ratio,
                    ratio > 1   ? "slower than its source"
                    : ratio < 1 ? "faster than its source"
                                : "as fast as its source"));
  print(fmt::format("bytes              {:.3f} GB\n", static_cast<double>(bytes) / 1e9));
  print(seconds ? fmt::format("time               about {:.1f} s at the disk's present rate\n",
                              *seconds)
                : std::string("time               unknown: the disk cannot be tried\n"));
  print("nothing was written\n");
}

}  // namespace

void run_convert(const Command& self, const Arguments& arguments) {
  const Invocation<ConvertOptions> call(self, arguments);
  if (call.job.dry_run) return print_forecast(forecast(call.job, call.ctx), call.common.json);
  const ConversionReport report = convert(call.job, call.ctx);
  if (call.common.json) return print_json(parse_json_file(call.job.out / "conversion.json"));
  print(fmt::format("{:>6}  {:>7}  {:>5}  {:>10}  {:>10}  {:>9}\n", "layer", "experts", "top-k",
                    "ffn_error", "kl", "agreement"));
  for (const LayerRecord& row : report.layers) {
    print(fmt::format("{:>6}  {:>7}  {:>5}  {:>10.3g}  {:>10.3g}  {:>9.3f}  {}\n", row.layer,
                      row.experts, row.top_k, row.ffn_error, row.kl, row.agreement,
                      row.kept ? "" : "reverted: " + row.reason));
  }
  print(fmt::format("max |logit difference| / max |logit| = {:.3g} against the source\n",
                    report.dense_exact));
  print(fmt::format("{:.3f} M parameters, {:.3f} M active; {:.3f} GB written in {:.2f} s\n",
                    static_cast<double>(report.parameters) / 1e6,
                    static_cast<double>(report.active_parameters) / 1e6,
                    static_cast<double>(report.bytes) / 1e9, report.seconds));
  print(fmt::format("saved {} ({} in transformers{})\n", call.job.out.string(), report.architecture,
                    report.architecture == "MoebiusForCausalLM" ? ", trust_remote_code=True" : ""));
  if (!report.sample.empty()) {
    print(fmt::format("it continues \"{}\" with \"{}\"\n", call.job.test_prompt, report.sample));
  }
}

}  // namespace moebius::cli

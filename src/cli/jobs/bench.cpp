#include <nlohmann/json.hpp>

#include "benchmark/benchmark.h"
#include "cli/commands.h"

namespace moebius::cli {
namespace {

Json to_json(const Figure& figure) {
  return {{"median", figure.median}, {"least", figure.least}, {"most", figure.most}};
}

Json to_json(const ModelReport& report) {
  Json out;
  out["model"] = report.model;
  out["weights"] = report.weights;
  const auto add = [&](const std::string& name, const PhaseReport& phase) {
    out[name + "_tokens_per_s"] = phase.tokens_per_s.median;
    out[name + "_spread"] = to_json(phase.tokens_per_s);
    out[name + "_stretches"] = phase.rates;
    out[name + "_flops_per_token"] = phase.flops;
    out[name + "_bytes_per_token"] = phase.bytes;
    out[name + "_gflops"] = phase.gflops;
    out[name + "_gbps"] = phase.gbps;
    out[name + "_share"] = phase.share;
  };
  add("prefill", report.prefill);
  add("decode", report.decode);
  out["load_s"] = report.load_s;
  out["weight_bytes"] = report.weight_bytes;
  out["cache_bytes"] = report.cache_bytes;
  out["reference_error"] = report.reference_error;
  return out;
}

Json to_json(const TrainingReport& report) {
  return {{"model", report.model},
          {"precision", name_of(report.precision)},
          {"train_tokens_per_s", report.tokens_per_s.median},
          {"train_spread", to_json(report.tokens_per_s)},
          {"train_flops_per_token", report.flops},
          {"train_gflops", report.gflops},
          {"train_share", report.share},
          {"optimizer_bytes", report.optimizer_bytes},
          {"weight_bytes", report.weight_bytes},
          {"first_loss", report.first_loss},
          {"last_loss", report.last_loss}};
}

/// The first model beside the second: rates, and what bytes (decode) and FLOPs (prefill) allow.
struct Comparison {
  double prefill, prefill_possible, decode, decode_possible;
};
Comparison compare(const ModelReport& a, const ModelReport& b) {
  return {ratio_of(a.prefill, b.prefill), b.prefill.flops / a.prefill.flops,
          ratio_of(a.decode, b.decode), b.decode.bytes / a.decode.bytes};
}

void print_training(const TrainingReport& report, const BenchOptions& job) {
  print(fmt::format("{}, {}: weights {:.0f} MiB, loss {:.3f} -> {:.3f}\n", report.model,
                    name_of(report.precision), static_cast<double>(report.weight_bytes) / (1 << 20),
                    report.first_loss, report.last_loss));
  print(
      fmt::format("  train {} x {:<6} {:>9.1f} tok/s ({:.1f}-{:.1f})  {:>8.1f} GFLOP/s {:>6.1f} "
                  "% of the limit\n",
                  job.batch, job.prompt, report.tokens_per_s.median, report.tokens_per_s.least,
                  report.tokens_per_s.most, report.gflops, 100 * report.share));
}

void print_model(const ModelReport& report, const BenchOptions& job) {
  constexpr double mib = 1 << 20;
  print(fmt::format(
      "{}, {}: weights {:.0f} MiB, keys and values {:.0f} MiB, ready in {:.2f} s, "
      "{:.1e} off the scalar kernels\n",
      report.model, report.weights, static_cast<double>(report.weight_bytes) / mib,
      static_cast<double>(report.cache_bytes) / mib, report.load_s, report.reference_error));
  const auto row = [&](const std::string& name, const PhaseReport& phase) {
    const std::string spread =
        fmt::format("({:.1f}-{:.1f})", phase.tokens_per_s.least, phase.tokens_per_s.most);
    print(fmt::format(
        "  {:<14} {:>9.1f} tok/s {:<19} {:>7.1f} GB/s {:>8.1f} GFLOP/s {:>6.1f} % of "
        "the limit\n",
        name, phase.tokens_per_s.median, spread, phase.gbps, phase.gflops, 100 * phase.share));
  };
  row(fmt::format("prefill {}", job.prompt), report.prefill);
  row(job.batch == 1 ? "decode" : fmt::format("decode {} x", job.batch), report.decode);
}

}  // namespace

void run_bench(const Command& self, const Arguments& arguments) {
  const Invocation<BenchOptions> call(self, arguments);
  const BenchReport report = bench(call.job, call.ctx);
  const kernels::Limits& limits = report.limits;
  const bool two = report.models.size() > 1;
  if (call.common.json) {
    Json out = call.job.train ? to_json(report.training[0]) : to_json(report.models[0]);
    out["limits"] = {{"read_gbps", limits.read_gbps},
                     {"f32_gflops", limits.f32_gflops},
                     {"bf16_gflops", limits.bf16_gflops},
                     {"int8_gops", limits.int8_gops}};
    out["resident_bytes"] = report.resident_bytes;
    out["isa"] = report.isa;
    out["threads"] = report.threads;
    if (two) {
      const Comparison c = compare(report.models[0], report.models[1]);
      out["against"] = to_json(report.models[1]);
      out["ratios"] = {{"prefill", c.prefill},
                       {"prefill_possible", c.prefill_possible},
                       {"decode", c.decode},
                       {"decode_possible", c.decode_possible}};
    }
    if (report.training.size() > 1) out["against"] = to_json(report.training[1]);
    return print_json(out);
  }
  print(
      fmt::format("{} threads, {}: read {:.1f} GB/s, f32 {:.0f} GFLOP/s, bf16 {:.0f} GFLOP/s, "
                  "int8 {:.0f} GOP/s\n",
                  report.threads, report.isa, limits.read_gbps, limits.f32_gflops,
                  limits.bf16_gflops, limits.int8_gops));
  for (const ModelReport& model : report.models) print_model(model, call.job);
  for (const TrainingReport& training : report.training) print_training(training, call.job);
  if (two) {
    const Comparison c = compare(report.models[0], report.models[1]);
    print(
        fmt::format("  prefill {:.2f} times as fast (FLOPs allow {:.2f}), decode {:.2f} times "
                    "(bytes allow {:.2f})\n",
                    c.prefill, c.prefill_possible, c.decode, c.decode_possible));
  }
  print(fmt::format("resident: {:.0f} MiB\n",
                    static_cast<double>(report.resident_bytes) / (1 << 20)));
}

}  // namespace moebius::cli

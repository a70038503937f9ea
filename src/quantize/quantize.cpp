
#include "base/clock.h"
#include "base/staged.h"
#include "checkpoint/companions.h"
#include "hub/resolve.h"
#include "model/packed_file.h"
#include "quantize/run.h"

namespace moebius {
namespace {

/// Bits that a weight of the packed matrices takes.
double bits_of(const Weights& weights) {
  double bytes = 0, values = 0;
  for_each_weight(
      [&](const std::string&, const Weight& w) {
        const PackedWeight* packed = w.packed();
        if (packed == nullptr) return;
        bytes += static_cast<double>(packed->bytes());
        values += static_cast<double>(packed->count() * packed->shape().n * packed->shape().k);
      },
      weights);
  return 8 * bytes / values;
}

}  // namespace

void QuantizeOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("out", out, "directory to write").required = true;
  options.choice("weights", weights, "what to pack as", {"f32", "bf16", "int8", "int4"});
}

QuantizeReport quantize(const QuantizeOptions& options, const Context& ctx) {
  const auto start = Clock::now();
  check_output_directory(options.out, options.overwrite);
  const fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  const CheckpointIndex index = CheckpointIndex::open(directory);
  Weights weights = map_weights(read_model_spec(directory), index);
  Executor executor(ctx.threads);
  pack_weights(weights, packed_type_from(options.weights, "--weights"), executor);
  ctx.check_interrupt();

  StagedDirectory staged(options.out, options.overwrite);
  save_packed(weights, staged.path());
  ctx.check_interrupt();
  OutputFile(staged.path() / "config.json").append(read_file(directory / "config.json"));
  copy_tokenizer(directory, staged.path());
  copy_generation_config(directory, staged.path());
  staged.commit();

  QuantizeReport report;
  report.source_bytes = static_cast<std::int64_t>(index.bytes());
  report.bytes = static_cast<std::int64_t>(fs::file_size(options.out / packed_weights_name));
  report.bits = bits_of(weights);
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace moebius

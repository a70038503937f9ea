#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/staged.h"
#include "checkpoint/companions.h"
#include "data/calibration_text.h"
#include "data/model_vocabulary.h"
#include "hub/resolve.h"
#include "model/decoder.h"
#include "model/packed_file.h"
#include "model/runtime.h"
#include "quantize/calibrated.h"
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

void check_calibration(const QuantizeOptions& options, kernels::PackedType type) {
  check_ranges_of(options);
  const bool quantised = type == kernels::PackedType::int8 || type == kernels::PackedType::int4;
  if (!options.calibration.empty() && !quantised) {
    throw UsageError("--calibration: is for --weights int8 and int4");
  }
  for (const std::string& file : options.calibration) {
    if (!fs::is_regular_file(file)) fail("--calibration {}: no such file", file);
  }
}

void calibrate(Model& model, const fs::path& directory, kernels::PackedType type,
               const QuantizeOptions& options, Executor& executor, const Context& ctx) {
  std::vector<at::Tensor> windows;
  for (const auto& ids :
       calibration_windows(model.spec, directory, tokenizer_beside(directory, model.spec),
                           options.calibration, options.calibration_tokens)) {
    windows.push_back(ids_tensor(ids));
  }
  Progress progress(ctx, "calibrate", static_cast<double>(model.spec.layers.size()), "layers");
  quantise_for_text(model, windows, type, executor, [&](std::int64_t done) {
    progress.update(static_cast<double>(done));
    ctx.check_interrupt();
  });
}

}  // namespace

QuantizeReport quantize(const QuantizeOptions& options, const Context& ctx) {
  const ComputeScope scope(ctx);
  const auto start = Clock::now();
  const kernels::PackedType type = packed_type_from(options.weights, "--weights");
  check_calibration(options, type);
  check_output_directory(options.out, options.overwrite);
  const fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  const Checkpoint opened = open_checkpoint(directory, ctx.log);
  Model model{opened.spec, map_weights(opened.spec, opened.bound)};
  Executor executor(ctx.threads);
  if (!options.calibration.empty()) calibrate(model, directory, type, options, executor, ctx);
  pack_weights(model.weights, type, executor);
  ctx.check_interrupt();

  StagedDirectory staged(options.out, options.overwrite);
  save_packed(model.weights, staged.path());
  ctx.check_interrupt();
  const fs::path config = directory / "config.json";
  OutputFile(staged.path() / "config.json")
      .append(carried_config(read_file(config), config.string(), model.spec));
  copy_tokenizer(directory, staged.path());
  copy_generation_config(directory, staged.path());
  staged.commit();

  QuantizeReport report;
  report.source_bytes = static_cast<std::int64_t>(opened.index.bytes());
  report.bytes = static_cast<std::int64_t>(fs::file_size(options.out / packed_weights_name));
  report.bits = bits_of(model.weights);
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace moebius

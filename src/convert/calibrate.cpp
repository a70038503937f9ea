#include "convert/calibrate.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "base/progress.h"
#include "model/load.h"
#include "model/runtime.h"

namespace moebius {
namespace {

constexpr std::int64_t longest_window = 512;

/// [windows, S]; a rest that fills no window is left out, unless there is nothing else.
at::Tensor windows_of(std::span<const std::int32_t> ids, std::int64_t context) {
  const auto count = static_cast<std::int64_t>(ids.size());
  const std::int64_t length = std::min({longest_window, context, count});
  if (length < 2) fail("--calibration: {} tokens are too few", count);
  const std::int64_t rows = count / length;
  at::Tensor windows = at::empty({rows, length}, at::kLong);
  std::copy_n(ids.begin(), rows * length, windows.mutable_data_ptr<std::int64_t>());
  return windows;
}

}  // namespace

void walk_ffn_inputs(const Source& source, const std::vector<std::int64_t>& layers,
                     std::span<const std::int32_t> ids, const Context& ctx,
                     const std::function<void(std::int64_t layer, const at::Tensor& x_TD,
                                              const Ffn& dense)>& on_layer) {
  const at::InferenceMode inference;
  const ComputeThreads one(1);
  const ModelSpec& spec = source.spec;
  const Weights weights = map_weights(spec, source.index);
  const at::Tensor windows = windows_of(ids, spec.context);
  const Rotary angles = rotary(spec, 0, windows.size(1), at::kCPU);
  Progress progress(ctx, "calibrate", static_cast<double>(layers.back() + 1), "layers");
  at::Tensor x = embed(spec, weights, windows, 0, at::kFloat);
  for (std::int64_t layer = 0; layer <= layers.back(); ++layer) {
    ctx.check_interrupt();
    const auto l = static_cast<std::size_t>(layer);
    const LayerWeights& w = weights.layers[l];
    x = attention_block(spec, w, x, angles, spec.layers[l].window, nullptr, 0);
    if (std::binary_search(layers.begin(), layers.end(), layer)) {
      on_layer(layer, ffn_input(spec, w, x).flatten(0, 1), std::get<Ffn>(w.ffn));
    }
    x = add_ffn(spec, w, x, ffn_branch(spec, spec.layers[l], w, x).y_BSD);
    progress.update(static_cast<double>(layer + 1));
  }
}

}  // namespace moebius

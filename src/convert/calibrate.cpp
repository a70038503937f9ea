#include "convert/calibrate.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "base/progress.h"
#include "model/load.h"
#include "model/runtime.h"
#include "ops/linear.h"

namespace moebius {
namespace {

constexpr std::int64_t longest_window = 512;

/// [windows, S]; a rest that fills no window is left out, unless there is nothing else.
at::Tensor windows_of(std::span<const std::int32_t> ids, std::int64_t context) {
  const auto count = static_cast<std::int64_t>(ids.size());
  const std::int64_t length = std::min({longest_window, context, count});
  if (length < 2) fail("--calibration: {} tokens are too few", count);
  const std::int64_t rows = count / length;
  return ids_tensor(ids.first(static_cast<std::size_t>(rows * length))).view({rows, length});
}

}  // namespace

void trace_ffns(const Source& source, const std::vector<std::int64_t>& layers,
                std::span<const std::int32_t> ids, const Context& ctx,
                const std::function<void(const FfnTrace& trace)>& on_layer) {
  const at::InferenceMode inference;
  const ComputeThreads one(1);
  const ModelSpec& spec = source.spec;
  const Weights weights = map_weights(spec, source.index);
  const at::Tensor windows = windows_of(ids, spec.context);
  const Rotary angles = rotary(spec, 0, windows.size(1), at::kCPU);
  Progress progress(ctx, "calibrate", static_cast<double>(layers.back() + 1), "layers");
  at::Tensor x = embed(spec, weights, windows, 0, at::kFloat);
  for (std::int64_t layer = 0;; ++layer) {
    ctx.check_interrupt();
    const auto l = static_cast<std::size_t>(layer);
    const LayerWeights& w = weights.layers[l];
    x = attention_block(spec, w, x, angles, spec.layers[l].window, nullptr, 0);
    if (!std::binary_search(layers.begin(), layers.end(), layer)) {
      x = add_ffn(spec, w, x, ffn_branch(spec, spec.layers[l], w, x).y_BSD);
    } else {
      const Ffn& dense = std::get<Ffn>(w.ffn);
      const at::Tensor in = ffn_input(spec, w, x);
      const at::Tensor hidden = ffn_hidden(in, dense, spec.activation);
      on_layer({layer, dense, in.flatten(0, 1), hidden.flatten(0, 1)});
      if (layer == layers.back()) return;
      x = add_ffn(spec, w, x, ops::linear(hidden, dense.down, dense.down_bias));
    }
    progress.update(static_cast<double>(layer + 1));
  }
}

}  // namespace moebius

#include "convert/calibrate.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"
#include "base/progress.h"
#include "model/load.h"
#include "model/runtime.h"
#include "ops/linear.h"

namespace moebius {
namespace {

/// One sequence on its way through the layers.
struct Sequence {
  TensorOps ops;
  at::Tensor x_BSD, in, hidden;  // residual stream; the FFN's inputs; a dense FFN's neurons

  const Routing& routing() { return ops.routings().back(); }
};

class Tracer {
 public:
  Tracer(const Source& source, const std::vector<at::Tensor>& ids, const Context& ctx)
      : spec_(source.spec), ctx_(ctx), weights_(map_weights(source.spec, source.index)) {
    for (const at::Tensor& each : ids) {
      sequences_.push_back({TensorOps(spec_, each.size(1), at::kFloat, at::kCPU), {}, {}, {}});
    }
    for_each_sequence([&](std::size_t i) {
      sequences_[i].x_BSD = graph::embed(sequences_[i].ops, weights_, ids[i]);
    });
  }

  /// Up to the FFN of `layer`.
  void attend(std::size_t layer) {
    const LayerWeights& w = weights_.layers[layer];
    for_each_sequence([&](std::size_t i) {
      Sequence& s = sequences_[i];
      s.x_BSD = graph::attention_block(s.ops, w, layer, s.x_BSD);
      s.in = graph::ffn_input(s.ops, w, s.x_BSD);
      if (w.moe() == nullptr) s.hidden = ffn_hidden(s.in, std::get<Ffn>(w.ffn), spec_.activation);
    });
  }

  /// The FFN of `layer`.
  void feed_forward(std::size_t layer) {
    const LayerWeights& w = weights_.layers[layer];
    for_each_sequence([&](std::size_t i) {
      Sequence& s = sequences_[i];
      at::Tensor y;
      if (w.moe() != nullptr) {
        s.ops.routings().clear();
        y = s.ops.moe(s.in, *w.moe(), *spec_.layers[layer].moe);
      } else {
        const Ffn& dense = std::get<Ffn>(w.ffn);
        y = ops::linear(s.hidden, dense.down, dense.down_bias);
      }
      s.x_BSD = graph::add_branch(s.ops, s.x_BSD, y, w.ffn_norm);
    });
  }

  FfnTrace trace(std::size_t layer) {
    const LayerWeights& w = weights_.layers[layer];
    FfnTrace out{static_cast<std::int64_t>(layer), joined(&Sequence::in), nullptr, {}, {}, {}};
    if (w.moe() == nullptr) {
      out.dense = &std::get<Ffn>(w.ffn);
      out.h_TF = joined(&Sequence::hidden);
      return out;
    }
    const std::int64_t experts = spec_.layers[layer].moe->experts;
    std::vector<at::Tensor> logits;
    at::Tensor counts = at::zeros({experts}, at::kLong);
    for (Sequence& s : sequences_) {
      logits.push_back(s.routing().logits_TE);
      counts = counts + at::bincount(s.routing().ids_TK.flatten(), {}, experts);
    }
    out.router_TE = at::cat(logits);
    for (std::int64_t e = 0; e < experts; ++e) out.usage.push_back(counts[e].item<double>());
    return out;
  }

 private:
  template <class Fn>
  void for_each_sequence(const Fn& fn) {
    ctx_.check_interrupt();
    const auto count = static_cast<std::int64_t>(sequences_.size());
    // A loop of one is no parallel region: what it calls would use all threads.
    const ComputeThreads threads(count == 1 ? 1 : at::get_num_threads());
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      const at::InferenceMode inference;
      for (std::int64_t i = begin; i < end; ++i) fn(static_cast<std::size_t>(i));
    });
  }

  at::Tensor joined(at::Tensor Sequence::*part) const {
    std::vector<at::Tensor> rows;
    for (const Sequence& s : sequences_) rows.push_back((s.*part).flatten(0, 1));
    return at::cat(rows);
  }

  const ModelSpec& spec_;
  const Context& ctx_;
  Weights weights_;
  std::vector<Sequence> sequences_;
};

}  // namespace

void trace_layers(const Source& source, const std::vector<std::int64_t>& layers,
                  const std::vector<at::Tensor>& sequences, const Context& ctx,
                  const std::function<void(const FfnTrace& trace)>& on_layer) {
  const at::InferenceMode inference;
  Progress progress(ctx, "calibrate", static_cast<double>(layers.back() + 1), "layers");
  Tracer tracer(source, sequences, ctx);
  for (std::int64_t layer = 0; layer <= layers.back(); ++layer) {
    const auto l = static_cast<std::size_t>(layer);
    const bool wanted = std::binary_search(layers.begin(), layers.end(), layer);
    const bool is_moe = source.spec.layers[l].moe.has_value();
    tracer.attend(l);
    if (layer < layers.back() || is_moe) tracer.feed_forward(l);
    if (wanted) {
      const ComputeThreads one(1);
      on_layer(tracer.trace(l));
    }
    progress.update(static_cast<double>(layer + 1));
  }
}

}  // namespace moebius

// One pass over the dense weights serves all candidates: a batch of streams walks through the
// layers, stream 0 being the dense model; at a candidate's layer a new stream forks from the last
// one and takes the MoE instead. So each weight is read once, for all streams, and candidate i is
// tested on top of those before it. This assumes that those are accepted; when one is not, the
// candidates after it are tested again without it.
#include "convert/layer_test.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "eval/divergence.h"
#include "model/load.h"

namespace moebius {
namespace {

/// An output tensor as it will be written.
at::Tensor tensor_of(const OutputTensor& output) {
  if (output.parts.size() == 1 && output.parts[0].source != nullptr) {
    return map_tensor(*output.parts[0].source);
  }
  at::Tensor tensor = at::empty(output.wanted.shape, to_torch(output.dtype));
  auto* to = static_cast<std::byte*>(tensor.mutable_data_ptr());
  for (const TensorPart& part : output.parts) {
    if (part.source != nullptr) {
      std::memcpy(to, part.source->data, part.bytes);
    } else {
      std::memcpy(to, part.make().data(), part.bytes);
    }
    to += part.bytes;
  }
  return tensor;
}

class LayerTester {
 public:
  LayerTester(const OutputPlan& before, const OutputPlan& after,
              const std::vector<std::int32_t>& prompt_ids, const Context& ctx)
      : before_(before), after_(after), ctx_(ctx), ids_(ids_tensor(prompt_ids)) {
    weights_ = gather(before, [](const std::string& slot) { return !slot.starts_with("layers."); });
  }

  /// Tests `candidates` one on top of the other, all of them on top of `accepted`.
  LayerTestResult pass(const std::set<std::int64_t>& accepted,
                       const std::vector<std::int64_t>& candidates) {
    const ModelSpec& spec = before_.spec;
    LayerTestResult result;
    TensorOps ops(spec, ids_.size(1), at::kFloat, at::kCPU);
    at::Tensor x = graph::embed(ops, weights_, ids_);  // [streams, T, D]
    if (!accepted.empty()) x = at::cat({x, x});
    for (std::size_t l = 0; l < spec.layers.size(); ++l) {
      ctx_.check_interrupt();
      const auto layer = static_cast<std::int64_t>(l);
      const LayerWeights w = layer_of(before_, layer, "");
      x = graph::attention_block(ops, w, l, x);
      const at::Tensor in = graph::ffn_input(ops, w, x);
      const at::Tensor dense = branch(ops, w, spec.layers[l], in);
      at::Tensor next = graph::add_branch(ops, x, dense, w.ffn_norm);
      const std::int64_t last = x.size(0) - 1;
      const bool candidate =
          std::find(candidates.begin(), candidates.end(), layer) != candidates.end();
      if (candidate || accepted.contains(layer)) {
        const at::Tensor moe = branch(ops, layer_of(after_, layer, "moe."), after_.spec.layers[l],
                                      in.narrow(0, last, 1));
        const at::Tensor with_moe = graph::add_branch(ops, x.narrow(0, last, 1), moe, w.ffn_norm);
        if (candidate) {
          const at::Tensor wanted = dense.narrow(0, last, 1);
          result.layers.push_back(record(layer, moe, wanted));
          next = at::cat({next, with_moe});
        } else {
          next = at::cat({next.narrow(0, 0, last), with_moe});
        }
      }
      x = next;
    }
    measure(x, result);
    return result;
  }

 private:
  LayerRecord record(std::int64_t layer, const at::Tensor& moe, const at::Tensor& dense) const {
    LayerRecord row;
    row.layer = layer;
    const MoeSpec& made = *after_.spec.layers[static_cast<std::size_t>(layer)].moe;
    row.experts = made.experts;
    row.top_k = made.top_k;
    row.ffn_error = (moe - dense).norm().item<double>() / dense.norm().item<double>();
    return row;
  }

  /// The weights of a plan's slots that `wanted` picks; the others stay empty.
  static Weights gather(const OutputPlan& plan,
                        const std::function<bool(const std::string& slot)>& wanted) {
    std::vector<StoredTensor> tensors;
    for (const OutputTensor& output : plan.tensors) {
      if (wanted(output.wanted.slots[0])) tensors.push_back({output.wanted, tensor_of(output)});
    }
    return gather_weights(plan.spec, tensors);
  }

  /// Of one layer those whose slots go on with `part`.
  static LayerWeights layer_of(const OutputPlan& plan, std::int64_t layer, std::string_view part) {
    const std::string slots = fmt::format("layers.{}.{}", layer, part);
    return gather(plan, [&](const std::string& slot) { return slot.starts_with(slots); })
        .layers[static_cast<std::size_t>(layer)];
  }

  /// Output of the FFN of a layer, without the residual.
  static at::Tensor branch(TensorOps& ops, const LayerWeights& w, const LayerSpec& layer,
                           const at::Tensor& in) {
    if (w.moe() != nullptr) return ops.moe(in, *w.moe(), *layer.moe);
    return ffn(in, std::get<Ffn>(w.ffn), ops.spec().activation);
  }

  /// KL, agreement and exactness from the last hidden states of all streams, a few positions at a
  /// time so that the logits stay small.
  void measure(const at::Tensor& x_NTD, LayerTestResult& result) const {
    const std::int64_t streams = x_NTD.size(0), tokens = x_NTD.size(1);
    const std::int64_t at_once = std::max<std::int64_t>(1, 256 / streams);
    const auto first = streams - static_cast<std::int64_t>(result.layers.size());
    double largest = 0, difference = 0;
    for (std::int64_t t = 0; t < tokens; t += at_once) {
      const std::int64_t count = std::min(at_once, tokens - t);
      const at::Tensor logits = head(before_.spec, weights_, x_NTD.narrow(1, t, count));
      for (std::size_t c = 0; c < result.layers.size(); ++c) {
        const Divergence d = divergence(logits[0], logits[first + static_cast<std::int64_t>(c)]);
        result.layers[c].kl += d.kl_sum / static_cast<double>(tokens);
        result.layers[c].agreement +=
            static_cast<double>(d.agreements) / static_cast<double>(tokens);
      }
      largest = std::max(largest, logits[0].abs().max().item<double>());
      difference =
          std::max(difference, (logits[streams - 1] - logits[0]).abs().max().item<double>());
    }
    result.dense_exact = largest > 0 ? difference / largest : difference;
  }

  const OutputPlan& before_;
  const OutputPlan& after_;
  const Context& ctx_;
  Weights weights_;
  at::Tensor ids_;
};

/// Why a layer is not kept; empty if it is.
std::string verdict(const LayerRecord& row, double max_kl) {
  if (!std::isfinite(row.ffn_error) || !std::isfinite(row.kl)) return "non-finite";
  if (max_kl >= 0 && row.kl > max_kl)
    return fmt::format("kl {:.3g} > max-kl {:.3g}", row.kl, max_kl);
  return {};
}

}  // namespace

LayerTestResult test_layers(const OutputPlan& before, const OutputPlan& after,
                            const std::vector<std::int64_t>& layers,
                            const std::vector<std::int32_t>& prompt_ids, double max_kl,
                            const Context& ctx) {
  const at::InferenceMode inference;
  LayerTester tester(before, after, prompt_ids, ctx);
  LayerTestResult result;
  std::set<std::int64_t> accepted;
  std::vector<std::int64_t> left = layers;
  while (!left.empty()) {
    const LayerTestResult pass = tester.pass(accepted, left);
    result.dense_exact = pass.dense_exact;
    std::size_t done = 0;
    for (bool kept = true; kept && done < pass.layers.size(); ++done) {
      LayerRecord row = pass.layers[done];
      row.reason = verdict(row, max_kl);
      row.kept = kept = row.reason.empty();
      if (kept) accepted.insert(row.layer);
      result.layers.push_back(std::move(row));
    }
    left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(done));
  }
  // When the very last layer went back, the last pass measured a model that is not the result.
  if (!result.layers.empty() && !result.layers.back().kept) {
    result.dense_exact = accepted.empty() ? 0.0 : tester.pass(accepted, {}).dense_exact;
  }
  return result;
}

}  // namespace moebius

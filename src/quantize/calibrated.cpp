#include "quantize/calibrated.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "model/cpu_model.h"
#include "model/tensor_ops.h"
#include "quantize/gptq.h"

namespace moebius {
namespace {

using kernels::PackedType;

/// Fewer tokens than this hardly tell an expert's inputs: others of its layer are added.
constexpr std::int64_t enough_tokens = 512;

/// Quantises matrices and keeps what is packed by the weight that it replaces.
class Quantiser {
 public:
  Quantiser(PackedType type, Executor& executor)
      : type_(type), executor_(executor), packer_(executor) {}

  QuantisedMatrix matrix(const at::Tensor& w_NK, const at::Tensor& factor) const {
    return gptq(w_NK, factor, type_, group_of(type_), executor_);
  }
  /// Packs what w, [N, K] or [E, N, K], is quantised to, and gives that back in f32.
  at::Tensor keep(const Weight& w, const std::vector<QuantisedMatrix>& matrices) {
    packed_[&w] = std::make_shared<const PackedWeight>(packer_.pack(matrices));
    std::vector<at::Tensor> out;
    for (const QuantisedMatrix& each : matrices) out.push_back(each.dequantised());
    return at::stack(out).view(w.plain().sizes());
  }

  /// Puts what is packed into the place of the weights.
  void replace(Weights& weights) {
    for_each_weight(
        [&](const std::string&, Weight& w) {
          const auto found = packed_.find(&w);
          if (found != packed_.end()) w = Weight(found->second);
        },
        weights);
  }

 private:
  PackedType type_;
  Executor& executor_;
  WeightPacker packer_;
  std::map<const Weight*, std::shared_ptr<const PackedWeight>> packed_;
};

/// The operations of the graph, which quantise every weight when they first meet it.
class QuantisingOps : public TensorOps {
 public:
  QuantisingOps(const ModelSpec& spec, std::int64_t count, Quantiser& quantiser)
      : TensorOps(spec, count, at::kFloat, at::kCPU), quantiser_(quantiser) {}

  Tensor linear(const Tensor& x, const Linear& l) const {
    return quantised_linear(x, l, error_factor(x.flatten(0, -2)));
  }
  template <std::size_t N>
  std::array<Tensor, N> products(const Tensor& x, const Linear (&ls)[N]) const {
    const at::Tensor factor = error_factor(x.flatten(0, -2));
    std::array<Tensor, N> out;
    for (std::size_t i = 0; i < N; ++i) out[i] = quantised_linear(x, ls[i], factor);
    return out;
  }
  Tensor add_linear(const Tensor& x, const Tensor& y, const Linear& l) const {
    return add(x, linear(y, l));
  }
  Tensor add_ffn(const Tensor& x, const Tensor& y, const Ffn& w, std::size_t) const {
    return add(x, ffn(y, quantised(w, all_of(y.flatten(0, -2))), spec().activation));
  }
  Tensor add_moe(const Tensor& x, const Tensor& y, const Moe& w, std::size_t layer) {
    const MoeSpec& moe = *spec().layers[layer].moe;
    const at::Tensor y_TD = y.flatten(0, -2);
    Moe replaced = w;
    const at::Tensor ids_TK = route(y_TD, w.router, moe, spec().activation).ids_TK;
    replaced.experts = quantised(w.experts, [&](std::int64_t e) {
      return y_TD.index_select(0, tokens_for((ids_TK == e).any(1)));
    });
    if (w.shared.up.defined()) replaced.shared = quantised(w.shared, all_of(y_TD));
    return add(x, TensorOps::moe(y, replaced, moe));
  }

 private:
  Tensor quantised_linear(const Tensor& x, const Linear& l, const at::Tensor& factor) const {
    const at::Tensor w = quantiser_.keep(l.w, {quantiser_.matrix(l.w, factor)});
    return TensorOps::linear(x, {Weight(w), l.bias});
  }

  /// Rows [T, D] that an expert reads.
  using Inputs = std::function<at::Tensor(std::int64_t expert)>;
  static Inputs all_of(const at::Tensor& x_TD) {
    return [x_TD](std::int64_t) { return x_TD; };
  }

  /// An FFN, or E of them in leaves [E, ...], of which each is quantised for its inputs.
  Ffn quantised(const Ffn& w, const Inputs& inputs) const {
    const at::Tensor& up = w.up;
    const bool several = up.dim() == 3;
    std::vector<QuantisedMatrix> gates, ups, downs;
    for (std::int64_t e = 0; e < (several ? up.size(0) : 1); ++e) {
      Ffn one = several ? expert_of(w, e) : w;
      const auto take = [&](Weight& leaf, const at::Tensor& factor,
                            std::vector<QuantisedMatrix>& to) {
        to.push_back(quantiser_.matrix(leaf, factor));
        leaf = to.back().dequantised();
      };
      const at::Tensor x = inputs(e), factor = error_factor(x);
      if (w.gate.defined()) take(one.gate, factor, gates);
      take(one.up, factor, ups);
      take(one.down, error_factor(ffn_hidden(x, one, spec().activation)), downs);
    }
    Ffn out = w;
    if (w.gate.defined()) out.gate = quantiser_.keep(w.gate, gates);
    out.up = quantiser_.keep(w.up, ups);
    out.down = quantiser_.keep(w.down, downs);
    return out;
  }

  /// Tokens of an expert, and if they are few others, from all over the text.
  static at::Tensor tokens_for(const at::Tensor& chosen_T) {
    const std::int64_t all = chosen_T.size(0), own = chosen_T.sum().item<std::int64_t>();
    const at::Tensor rows = chosen_T.nonzero().squeeze(1);
    const std::int64_t missing = std::min(enough_tokens, all) - own;
    if (missing <= 0) return rows;
    const at::Tensor others = chosen_T.logical_not().nonzero().squeeze(1);
    const std::int64_t step = std::max<std::int64_t>(1, others.size(0) / missing);
    return at::cat({rows, others.slice(0, 0, missing * step, step)});
  }

  Quantiser& quantiser_;
};

}  // namespace

void quantise_for_text(Model& model, std::span<const at::Tensor> sequences,
                       kernels::PackedType type, Executor& executor,
                       const std::function<void(std::int64_t done)>& on_layer) {
  const at::InferenceMode inference;
  Weights& w = model.weights;
  if (!w.head.defined()) w.head = w.embed;
  const at::Tensor ids_BS = at::cat(at::TensorList(sequences.data(), sequences.size()));
  Quantiser quantiser(type, executor);
  QuantisingOps ops(model.spec, ids_BS.size(1), quantiser);
  at::Tensor x = graph::embed(ops, w, ids_BS);
  for (std::size_t l = 0; l < w.layers.size(); ++l) {
    x = graph::attention_block(ops, w.layers[l], l, x);
    x = graph::ffn_block(ops, w.layers[l], l, x);
    on_layer(static_cast<std::int64_t>(l) + 1);
  }
  graph::head(ops, w, x);
  quantiser.replace(w);
}

}  // namespace moebius

#include "ops/grouped_ffn.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "kernels/grouped_ffn.h"
#include "kernels/routing.h"
#include "ops/cpu_kernels.h"
#include "ops/saved_value.h"

namespace moebius::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The leaves of an FFN in one array.
enum Leaf : std::size_t { gate, up, down, gate_bias, up_bias, down_bias, leaves };
using Leaves = std::array<Weight, leaves>;

Leaves leaves_of(const FfnOf<Weight>& w) {
  return {w.gate, w.up, w.down, w.gate_bias, w.up_bias, w.down_bias};
}

/// Plain leaves; a leaf that is packed or that a layer lacks is undefined.
at::Tensor tensor_of(const Weight& leaf) {
  return leaf.packed() == nullptr ? leaf.plain() : at::Tensor();
}

/// The shape of a leaf [E, N, K].
struct LeafShape {
  std::int64_t experts, n, k;
};
LeafShape shape_of(const Weight& w) {
  if (const PackedWeight* packed = w.packed()) {
    return {packed->count(), packed->shape().n, packed->shape().k};
  }
  const at::Tensor& t = w.plain();
  return {t.size(0), t.size(1), t.size(2)};
}

/// The T K assignments sorted by expert, as `kernels::sort_by_expert` does it.
struct Assignments {
  at::Tensor offsets_E;  ///< int64: E + 1 borders
  at::Tensor rows_N;     ///< int32: the token of each sorted row
  at::Tensor scales_N;   ///< f32: its weight
  at::Tensor places_N;   ///< int64: the sorted row of assignment t K + k
};

Assignments sort_by_expert(const at::Tensor& ids_TK, const at::Tensor& weights_TK,
                           std::int64_t experts) {
  const std::int64_t count = ids_TK.numel();
  const auto [least, most] = at::aminmax(ids_TK);
  if (least.item<std::int64_t>() < 0 || most.item<std::int64_t>() >= experts) {
    fail("[grouped_ffn] ids from {} to {}, and there are {} experts", least.item<std::int64_t>(),
         most.item<std::int64_t>(), experts);
  }
  const at::Tensor ids = ids_TK.to(at::kInt).contiguous();
  const at::Tensor weights = weights_TK.to(at::kFloat).contiguous();
  Assignments out{at::empty({experts + 1}, at::kLong), at::empty({count}, at::kInt),
                  at::empty({count}, at::kFloat), at::empty({count}, at::kLong)};
  kernels::sort_by_expert(
      {.experts = experts, .top_k = ids.size(1)}, ids.const_data_ptr<std::int32_t>(),
      weights.const_data_ptr<float>(), ids.size(0), out.offsets_E.mutable_data_ptr<std::int64_t>(),
      out.rows_N.mutable_data_ptr<std::int32_t>(), out.scales_N.mutable_data_ptr<float>(),
      out.places_N.mutable_data_ptr<std::int64_t>());
  return out;
}

/// The matrices of a call, with biases in f32.
class Experts {
 public:
  explicit Experts(const Leaves& w) : w_(w) {
    for (std::size_t leaf = gate_bias; leaf < leaves; ++leaf) {
      if (w_[leaf].defined()) w_[leaf] = w_[leaf].plain().to(at::kFloat).contiguous();
    }
  }

  /// One job an expert; plain matrices are computed with in the type of x.
  std::vector<kernels::FfnJob> jobs(const at::Tensor& x, const at::Tensor& offsets_E) const {
    const auto* offset = offsets_E.const_data_ptr<std::int64_t>();
    std::vector<kernels::FfnJob> out;
    for (std::int64_t e = 0; e + 1 < offsets_E.size(0); ++e) {
      out.push_back({matrix(x, gate, e), matrix(x, up, e), matrix(x, down, e), bias(gate_bias, e),
                     bias(up_bias, e), bias(down_bias, e), offset[e], offset[e + 1]});
    }
    return out;
  }

 private:
  kernels::Matrix matrix(const at::Tensor& x, Leaf leaf, std::int64_t e) const {
    if (!w_[leaf].defined()) return {};
    if (const PackedWeight* packed = w_[leaf].packed()) return packed->matrix(e);
    const at::Tensor w = w_[leaf].plain().select(0, e);
    return {.shape = {compute_type(x), w.size(0), w.size(1)}, .plain = plain_of(w)};
  }
  const float* bias(Leaf leaf, std::int64_t e) const {
    return w_[leaf].defined() ? w_[leaf].plain().select(0, e).const_data_ptr<float>() : nullptr;
  }

  Leaves w_;
};

/// The type of the gradients of a call's jobs.
at::ScalarType gradient_type(const std::vector<kernels::FfnJob>& jobs) {
  return kernels::gradient_type(jobs[0]) == kernels::ValueType::bf16 ? at::kBFloat16 : at::kFloat;
}

/// x in the type that the jobs take: bf16 only for matrices in bf16.
at::Tensor rows_for(const at::Tensor& x_TD, const std::vector<kernels::FfnJob>& jobs) {
  const bool bf16 = jobs[0].up.shape.type == kernels::PackedType::bf16;
  return (bf16 ? x_TD : x_TD.to(at::kFloat)).contiguous();
}

/// What the backward pass needs.
struct Kept {
  Assignments assignments;
  at::Tensor gate_NF, up_NF;
};

/// y, and what is kept where `keep` is set.
at::Tensor run(const at::Tensor& x_TD, const at::Tensor& weights_TK, const Leaves& w,
               const at::Tensor& ids_TK, Activation activation, bool keep, Kept& kept) {
  const LeafShape shape = shape_of(w[up]);
  kept.assignments = sort_by_expert(ids_TK, weights_TK, shape.experts);
  const Assignments& a = kept.assignments;
  const Experts experts(w);
  const std::vector<kernels::FfnJob> jobs = experts.jobs(x_TD, a.offsets_E);
  const at::Tensor x = rows_for(x_TD, jobs);
  at::Tensor y = at::zeros(x.sizes(), at::kFloat);
  if (keep) {
    kept.up_NF = at::empty({a.rows_N.size(0), shape.n}, gradient_type(jobs));
    if (w[gate].defined()) kept.gate_NF = at::empty_like(kept.up_NF);
  }
  const auto data_of = [](const at::Tensor& t) {
    return t.defined() ? t.mutable_data_ptr() : nullptr;
  };
  const CpuKernels cpu;
  kernels::grouped_ffn(cpu, {.jobs = jobs,
                             .rows = a.rows_N.const_data_ptr<std::int32_t>(),
                             .scales = a.scales_N.const_data_ptr<float>(),
                             .x = x.const_data_ptr(),
                             .y = y.mutable_data_ptr<float>(),
                             .tokens = x.size(0),
                             .ldx = x.size(1),
                             .ldy = x.size(1),
                             .activation = activation,
                             .type = value_type(x),
                             .gate_x = data_of(kept.gate_NF),
                             .up_x = data_of(kept.up_NF)});
  return y.to(x_TD.scalar_type());
}

class GroupedFfnFunction : public torch::autograd::Function<GroupedFfnFunction> {
 public:
  /// Leaves that a layer lacks have no value.
  using Given = std::optional<at::Tensor>;
  /// Of plain leaves; undefined where none is needed.
  using Gradients = std::array<at::Tensor, leaves>;

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weights_TK,
                            const Given& gate_w, const Given& up_w, const Given& down_w,
                            const Given& gate_b, const Given& up_b, const Given& down_b,
                            const at::Tensor& ids_TK, std::int64_t activation,
                            const Leaves& packed) {
    Kept kept;
    Leaves w = packed;
    variable_list to_save;
    std::int64_t wanted = x.requires_grad() ? 1 << leaves : 0;  // a bit for each gradient
    std::size_t leaf = 0;
    for (const Given& each : {gate_w, up_w, down_w, gate_b, up_b, down_b}) {
      if (each.has_value()) w[leaf] = *each;
      to_save.push_back(each.value_or(at::Tensor()));
      if (each.has_value() && each->requires_grad()) wanted |= 1 << leaf;
      ++leaf;
    }
    at::Tensor y = run(x, weights_TK, w, ids_TK, static_cast<Activation>(activation), true, kept);
    const Assignments& a = kept.assignments;
    for (const at::Tensor& each :
         {x, weights_TK, a.rows_N, a.places_N, a.offsets_E, a.scales_N, kept.gate_NF, kept.up_NF}) {
      to_save.push_back(each);
    }
    ctx->save_for_backward(std::move(to_save));
    ctx->saved_data["packed"] = saved(packed);
    ctx->saved_data["activation"] = activation;
    ctx->saved_data["wanted"] = wanted;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const std::int64_t wanted = ctx->saved_data["wanted"].toInt();
    Leaves w = value_of<Leaves>(ctx->saved_data["packed"]);
    for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
      if (saved[leaf].defined()) w[leaf] = saved[leaf];
    }
    const at::Tensor& weights_TK = saved[leaves + 1];
    const at::Tensor &rows_N = saved[leaves + 2], &places_N = saved[leaves + 3];
    const at::Tensor &offsets_E = saved[leaves + 4], &scales_N = saved[leaves + 5];
    const at::Tensor &gate_NF = saved[leaves + 6], &up_NF = saved[leaves + 7];

    Gradients dw;
    for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
      if ((wanted >> leaf & 1) == 0) continue;
      dw[leaf] = leaf < gate_bias ? at::empty_like(saved[leaf], at::MemoryFormat::Contiguous)
                                  : at::zeros(saved[leaf].sizes(), at::kFloat);
    }
    const Experts experts(w);
    const std::vector<kernels::FfnJob> jobs = experts.jobs(saved[leaves], offsets_E);
    const at::ScalarType type = gradient_type(jobs);
    const at::Tensor x = saved[leaves].to(type).contiguous();
    const at::Tensor dy = gradients[0].to(type).contiguous();
    std::vector<kernels::FfnGradients> to;
    for (std::size_t e = 0; e < jobs.size(); ++e) to.push_back(gradients_of(dw, jobs[e], e));
    at::Tensor dscales_N = at::zeros_like(scales_N), dx;
    if ((wanted >> leaves & 1) != 0) dx = at::zeros(x.sizes(), at::kFloat);
    {
      const CpuKernels cpu;
      kernels::grouped_ffn_backward(
          cpu, {.jobs = jobs,
                .gradients = to,
                .rows = rows_N.const_data_ptr<std::int32_t>(),
                .scales = scales_N.const_data_ptr<float>(),
                .x = x.const_data_ptr(),
                .dy = dy.const_data_ptr(),
                .gate_x = gate_NF.defined() ? gate_NF.const_data_ptr() : nullptr,
                .up_x = up_NF.const_data_ptr(),
                .activation = static_cast<Activation>(ctx->saved_data["activation"].toInt()),
                .dx = dx.defined() ? dx.mutable_data_ptr<float>() : nullptr,
                .dscales = dscales_N.mutable_data_ptr<float>()});
    }
    variable_list out{
        dx.defined() ? dx.to(saved[leaves].scalar_type()) : dx,
        dscales_N.index_select(0, places_N).view(weights_TK.sizes()).to(weights_TK.scalar_type())};
    for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
      out.push_back(dw[leaf].defined() ? dw[leaf].to(saved[leaf].scalar_type()) : at::Tensor());
    }
    out.resize(11);
    return out;
  }

 private:
  /// Views of the gradients of expert e; those of an expert without rows are zeroed.
  static kernels::FfnGradients gradients_of(const Gradients& dw, const kernels::FfnJob& job,
                                            std::size_t e) {
    const auto at_e = [&](Leaf leaf) -> void* {
      if (!dw[leaf].defined()) return nullptr;
      at::Tensor part = dw[leaf].select(0, static_cast<std::int64_t>(e));
      if (job.begin == job.end) part.zero_();
      return part.mutable_data_ptr();
    };
    return {at_e(gate),
            at_e(up),
            at_e(down),
            static_cast<float*>(at_e(gate_bias)),
            static_cast<float*>(at_e(up_bias)),
            static_cast<float*>(at_e(down_bias))};
  }
};

}  // namespace

bool suits_grouped_ffn(const at::Tensor& x, const FfnOf<Weight>& w) {
  if (w.up.packed() != nullptr) return x.numel() > 0 && kernels_serve_packed(x);
  return kernels_serve(x, w.up.plain());
}

at::Tensor grouped_ffn(const at::Tensor& x_TD, const at::Tensor& ids_TK,
                       const at::Tensor& weights_TK, const FfnOf<Weight>& weights,
                       Activation activation) {
  const Leaves w = leaves_of(weights);
  if (x_TD.size(-1) != shape_of(w[up]).k) {
    fail("[grouped_ffn] x has D={} but the experts have D={}", x_TD.size(-1), shape_of(w[up]).k);
  }
  const auto tensor = [&](Leaf leaf) { return tensor_of(w[leaf]); };
  if (!recording({x_TD, weights_TK, tensor(gate), tensor(up), tensor(down), tensor(gate_bias),
                  tensor(up_bias), tensor(down_bias)})) {
    Kept kept;
    return run(x_TD, weights_TK, w, ids_TK, activation, false, kept);
  }
  const auto given = [&](Leaf leaf) {
    const at::Tensor t = tensor(leaf);
    return t.defined() ? std::optional(t.to(x_TD.scalar_type())) : std::nullopt;
  };
  Leaves packed;
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    if (w[leaf].packed() != nullptr) packed[leaf] = w[leaf];
  }
  return GroupedFfnFunction::apply(x_TD, weights_TK, given(gate), given(up), given(down),
                                   given(gate_bias), given(up_bias), given(down_bias), ids_TK,
                                   static_cast<std::int64_t>(activation), packed);
}

at::Tensor ffn(const at::Tensor& x, const FfnOf<Weight>& w, Activation activation) {
  const at::Tensor flat = x.reshape({-1, x.size(-1)});
  const auto alone = [](const Weight& leaf) {
    if (!leaf.defined() || leaf.packed() != nullptr) return leaf;  // packed ones have an E of 1
    return Weight(leaf.plain().unsqueeze(0));
  };
  const FfnOf<Weight> one{alone(w.gate),      alone(w.up),      alone(w.down),
                          alone(w.gate_bias), alone(w.up_bias), alone(w.down_bias)};
  return grouped_ffn(flat, at::zeros({flat.size(0), 1}, at::kLong),
                     at::ones({flat.size(0), 1}, at::kFloat), one, activation)
      .view(x.sizes());
}

}  // namespace moebius::ops

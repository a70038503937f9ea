#include "model/cpu_model.h"

#include <ATen/ATen.h>

#include "base/memory.h"

namespace moebius {
namespace {

using kernels::PackedType;

/// Whether a slot holds matrices that tokens are multiplied with, other than those of routers and
/// what is made of latents.
bool is_packable(std::string_view slot) {
  if (slot == "head.weight" || slot == "project_in.weight" || slot == "project_out.weight") {
    return true;
  }
  if (slot.find(".router.") != std::string_view::npos || slot.ends_with(".kv_latent.b.weight")) {
    return false;
  }
  for (const char* matrix : {".attn.q", ".attn.k", ".attn.v", ".attn.o", ".gate", ".up", ".down",
                             "_latent.a", "_latent.b"}) {
    if (slot.ends_with(fmt::format("{}.weight", matrix))) return true;
  }
  return false;
}

kernels::Matrix matrix_of(const Weight& w, std::int64_t expert) {
  return w.defined() ? w.packed()->matrix(expert) : kernels::Matrix{};
}

/// Row `expert` of biases [E, N], or [N].
const float* bias_of(const Weight& bias, std::int64_t expert) {
  if (!bias.defined()) return nullptr;
  return bias.plain().const_data_ptr<float>() + expert * bias.plain().size(-1);
}

void add_jobs(const Ffn& w, std::vector<kernels::FfnJob>& jobs) {
  for (std::int64_t e = 0; e < w.up.packed()->count(); ++e) {
    jobs.push_back({matrix_of(w.gate, e), matrix_of(w.up, e), matrix_of(w.down, e),
                    bias_of(w.gate_bias, e), bias_of(w.up_bias, e), bias_of(w.down_bias, e), 0, 0});
  }
}

/// Of each head a way from a query to latents [H, R, N] and from those to values [H, V, R].
std::vector<PackedWeight> absorbed(const ModelSpec& spec, const at::Tensor& b, PackedType type,
                                   WeightPacker& packer) {
  const std::int64_t plain = spec.head_dim - spec.latent->rope_dim;
  const at::Tensor b_HXR = b.to(at::kFloat).unflatten(0, {spec.heads, -1});
  return {packer.pack(b_HXR.narrow(1, 0, plain).transpose(1, 2), type, group_of(type)),
          packer.pack(b_HXR.narrow(1, plain, spec.latent->value_dim), type, group_of(type))};
}

}  // namespace

void pack_weights(Weights& weights, PackedType type, Executor& executor) {
  const at::InferenceMode inference;
  if (!weights.head.defined()) weights.head = weights.embed;
  std::int64_t bytes = 0;
  const auto wanted = [&](const std::string& slot, const Weight& w) {
    return w.defined() && w.packed() == nullptr && is_packable(slot);
  };
  for_each_weight(
      [&](const std::string& slot, const Weight& w) {
        if (!wanted(slot, w)) return;
        const at::Tensor& t = w;
        bytes += t.numel() / t.size(-1) *
                 kernels::PackedShape{type, 32, t.size(-1), group_of(type)}.bytes() / 32;
      },
      weights);
  require_memory(bytes, "the packed weights", "use smaller ones, --weights int8 or int4");
  WeightPacker packer(executor);
  for_each_weight(
      [&](const std::string& slot, Weight& w) {
        if (wanted(slot, w)) {
          w = Weight(std::make_shared<const PackedWeight>(packer.pack(w, type, group_of(type))));
        } else if (w.defined() && w.packed() == nullptr && slot != "embed.weight") {
          w = w.plain().to(at::kFloat).contiguous();
        }
      },
      weights);
}

CpuModel::CpuModel(Model model, PackedType type, PackedType cache, Executor& executor)
    : spec(std::move(model.spec)), weights(std::move(model.weights)), angles(spec) {
  const at::InferenceMode inference;
  pack_weights(weights, type, executor);
  WeightPacker packer(executor);
  kv = spec.latent ? kernels::KvLayout{1, spec.latent->kv_rank + spec.latent->rope_dim,
                                       spec.latent->kv_rank}
                   : kernels::KvLayout{spec.kv_heads, spec.head_dim, spec.head_dim};
  kv.type = cache;
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    layers.push_back(layer_of(spec.layers[l], weights.layers[l], packer));
  }
}

CpuLayer CpuModel::layer_of(const LayerSpec& layer, const LayerWeights& w,
                            WeightPacker& packer) const {
  CpuLayer out;
  const auto in_f32 = [&](const at::Tensor& matrix) {
    return packer.pack(matrix, PackedType::f32, group_of(PackedType::f32));
  };
  if (spec.latent) {
    const PackedType floats = kv.type == PackedType::f32 ? PackedType::f32 : PackedType::bf16;
    out.absorbed = absorbed(spec, w.attn.kv_latent.b, floats, packer);
  }
  if (const Moe* moe = w.moe()) {
    out.scores.push_back(in_f32(moe->router.weight));
    if (moe->router.up.defined()) out.scores.push_back(in_f32(moe->router.up));
    if (layer.moe->shared_gate) out.shared_gate.push_back(in_f32(moe->shared_gate));
    out.rule = rule_of(*layer.moe, spec.residual_multiplier);
    add_jobs(moe->experts, out.ffns);
    if (moe->shared.up.defined()) add_jobs(moe->shared, out.ffns);
  } else {
    add_jobs(std::get<Ffn>(w.ffn), out.ffns);
  }
  return out;
}

std::int64_t CpuModel::packed_bytes() const {
  std::int64_t bytes = 0;
  for_each_weight(
      [&](const std::string&, const Weight& w) {
        if (w.packed() != nullptr) bytes += w.packed()->bytes();
      },
      weights);
  return bytes;
}

}  // namespace moebius

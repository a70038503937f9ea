#include "convert/output_plan.h"

#include <map>

#include "base/error.h"
#include "convert/upcycle.h"

namespace moebius {
namespace {

/// "layers.3.moe.experts.up.weight" -> "layers.3.ffn.up.weight"; other slots unchanged.
std::string dense_slot(const std::string& slot) {
  constexpr std::string_view experts = ".moe.experts.";
  const auto at = slot.find(experts);
  if (at == std::string::npos) return slot;
  return slot.substr(0, at) + ".ffn." + slot.substr(at + experts.size());
}

std::vector<std::byte> to_bytes(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) store_weight(bytes.data(), dtype, i, values[i]);
  return bytes;
}

}  // namespace

Source::Source(const fs::path& directory)
    : directory(directory),
      spec(read_model_spec(directory)),
      index(CheckpointIndex::open(directory)),
      bound(bind_checkpoint(spec, index)) {}

const TensorEntry& Source::holding(const std::vector<std::string>& slots) const {
  for (const BoundTensor& tensor : bound) {
    if (tensor.wanted.slots == slots) return *tensor.found;
  }
  fail("{}: no tensor holds {}", directory.string(), slots[0]);
}

const TensorEntry* Source::find_slot(const std::string& slot) const {
  for (const BoundTensor& tensor : bound) {
    if (tensor.wanted.slots.size() == 1 && tensor.wanted.slots[0] == slot) return tensor.found;
  }
  return nullptr;
}

ModelSpec converted_spec(const ModelSpec& source, const std::vector<std::int64_t>& layers,
                         const ConvertOptions& options) {
  for (const LayerSpec& layer : source.layers) {
    if (layer.moe && !layer.overlay) {
      throw Error("this model has mixtures of experts of its own",
                  "upcycling takes a dense model, or one that moebius converted in part");
    }
  }
  ModelSpec spec = source;
  for (const std::int64_t l : layers) {
    LayerSpec& layer = spec.layers[static_cast<std::size_t>(l)];
    if (layer.moe) fail("layer {} is a mixture of experts already", l);
    MoeSpec moe;
    moe.experts = moe.groups = options.experts;
    moe.top_k = options.top_k;
    moe.width = layer.width;
    layer.moe = moe;
    layer.overlay = true;
  }
  return spec;
}

std::vector<float> make_router(const Source& source, std::int64_t layer,
                               const ConvertOptions& options, std::uint64_t seed) {
  // The norm whose output the FFN sees.
  const char* name = source.spec.post_norm ? "attn_norm" : "ffn_norm";
  const std::string norm = fmt::format("layers.{}.{}", layer, name);
  const TensorEntry& weight = source.holding({norm + ".weight"});
  const double rms = norm_output_rms(weight, source.find_slot(norm + ".bias"));
  return random_router(options.experts, source.spec.d_model, rms, seed, layer);
}

OutputPlan plan_output(const Source& source, const std::vector<std::int64_t>& layers,
                       const ConvertOptions& options, std::uint64_t seed) {
  OutputPlan plan;
  plan.spec = converted_spec(source.spec, layers, options);
  describe_output(source, plan.spec, plan);

  std::map<std::vector<std::string>, std::vector<const BoundTensor*>> sources;
  for (const BoundTensor& tensor : source.bound) {
    sources[tensor.wanted.slots].push_back(&tensor);
  }
  for (const FileTensor& wanted : file_layout(plan.spec)) {
    OutputTensor out;
    std::vector<std::string> slots;
    for (const std::string& slot : wanted.slots) slots.push_back(dense_slot(slot));
    if (const auto own = sources.find(wanted.slots); own != sources.end()) {
      // What stays: for experts of layers that were an MoE before, the same expert.
      out.source =
          own->second.at(wanted.expert < 0 ? 0 : static_cast<std::size_t>(wanted.expert))->found;
    } else if (const auto dense = sources.find(slots); dense != sources.end()) {
      out.source = dense->second[0]->found;
      out.expert = wanted.expert;
    } else {
      const auto layer = std::stoll(wanted.slots[0].substr(std::string_view("layers.").size()));
      const TensorEntry& like = source.holding({fmt::format("layers.{}.ffn_norm.weight", layer)});
      out.bytes = to_bytes(make_router(source, layer, options, seed), like.dtype);
      out.meta.dtype = like.dtype;
    }
    out.meta.name = wanted.name;
    out.meta.shape = wanted.shape;
    if (out.source != nullptr) out.meta.dtype = out.source->dtype;
    plan.tensors.push_back(std::move(out));
  }
  return plan;
}

}  // namespace moebius

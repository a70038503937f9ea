#include "convert/output_plan.h"

#include "base/error.h"

namespace moebius {
namespace {

/// "layers.3.moe.experts.up.weight" -> 3, "experts", "up.weight"; "layers.3.moe.bias" -> 3, "bias",
/// ""; other slots: -1.
struct MoeSlot {
  std::int64_t layer = -1;
  std::string module, part;

  explicit MoeSlot(const std::string& slot) {
    constexpr std::string_view layers = "layers.", moe = ".moe.";
    const auto at = slot.find(moe);
    if (at == std::string::npos) return;
    layer = std::stoll(slot.substr(layers.size(), at - layers.size()));
    const std::string rest = slot.substr(at + moe.size());
    const auto dot = std::min(rest.find('.'), rest.size());
    module = rest.substr(0, dot);
    part = rest.substr(std::min(dot + 1, rest.size()));
  }
};

class Planner {
 public:
  Planner(const Source& source, const Recipes& recipes, const ConvertOptions& options,
          const Context& ctx)
      : source_(source), recipes_(recipes), options_(options), ctx_(ctx) {
    for (const BoundTensor& tensor : source.bound) stays_[tensor.wanted.slots].push_back(&tensor);
  }

  OutputTensor tensor(const FileTensor& wanted) const {
    OutputTensor out{wanted, DType::f32, {}};
    const MoeSlot slot(wanted.slots[0]);
    if (slot.layer >= 0 && recipes_.contains(slot.layer)) {
      fill_moe(recipes_.at(slot.layer), slot, out);
      return out;
    }
    // What stays; of experts of layers that were an MoE before, the same one.
    const auto& same = stays_.at(wanted.slots);
    const TensorEntry& entry =
        *same.at(wanted.expert < 0 ? 0 : static_cast<std::size_t>(wanted.expert))->found;
    out.dtype = output_dtype(options_, entry.dtype);
    out.parts.push_back(copy_of(entry, out.dtype));
    return out;
  }

 private:
  void fill_moe(const LayerRecipe& recipe, const MoeSlot& slot, OutputTensor& out) const {
    if (slot.module == "bias") {  // down's, added once
      const auto& bias = *source_.holding(fmt::format("layers.{}.ffn.down.bias", slot.layer)).found;
      out.dtype = output_dtype(options_, bias.dtype);
      out.parts.push_back(copy_of(bias, out.dtype));
      return;
    }
    if (slot.module == "router" || slot.module == "shared_gate") {
      const std::string norm = fmt::format("layers.{}.ffn_norm.weight", slot.layer);
      out.dtype = output_dtype(options_, source_.holding(norm).found->dtype);
      const auto values = recipe.router.find(slot.part);
      const bool given = slot.module == "router" && values != recipe.router.end();
      out.parts.push_back(given ? values_part(values->second, out.dtype) : zero_part(out));
      return;
    }
    const auto fill = [&](const FfnRecipe& ffn) {
      const auto width = source_.spec.layers[static_cast<std::size_t>(slot.layer)].width;
      for (const std::string& name : out.wanted.slots) {
        const std::string part = MoeSlot(name).part;
        const BoundTensor& dense =
            source_.holding(fmt::format("layers.{}.ffn.{}", slot.layer, part));
        out.dtype = output_dtype(options_, dense.found->dtype);
        const bool copy = is_copy(ffn, part, width);
        out.parts.push_back(copy ? copy_of(*dense.found, out.dtype)
                                 : ffn_part(ffn, part, dense, out.dtype));
      }
    };
    if (slot.module == "shared") return fill(*recipe.shared);
    if (out.wanted.expert >= 0)
      return fill(recipe.experts[static_cast<std::size_t>(out.wanted.expert)]);
    for (const FfnRecipe& expert : recipe.experts) fill(expert);
  }

  TensorPart ffn_part(const FfnRecipe& recipe, const std::string& part, const BoundTensor& dense,
                      DType dtype) const {
    const std::size_t elements = ffn_tensor_elements(recipe, part, dense);
    return {nullptr,
            [&recipe, part, &dense, dtype, seed = ctx_.seed, threads = ctx_.threads] {
              return make_ffn_tensor(recipe, part, dense, dtype, seed, threads);
            },
            elements * size_of(dtype)};
  }

  TensorPart copy_of(const TensorEntry& entry, DType dtype) const {
    if (entry.dtype == dtype) return {&entry, {}, entry.bytes};
    const auto count = static_cast<std::size_t>(entry.elements());
    return {nullptr,
            [&entry, dtype, count, threads = ctx_.threads] {
              return store_weights(count, dtype, threads, [&](std::size_t i) {
                return load_weight(entry.data, entry.dtype, i);
              });
            },
            count * size_of(dtype)};
  }

  TensorPart values_part(const std::vector<float>& values, DType dtype) const {
    return {nullptr,
            [&values, dtype, threads = ctx_.threads] {
              return store_weights(values.size(), dtype, threads,
                                   [&](std::size_t i) { return values[i]; });
            },
            values.size() * size_of(dtype)};
  }

  static TensorPart zero_part(const OutputTensor& out) {
    const auto bytes =
        static_cast<std::size_t>(element_count(out.wanted.shape)) * size_of(out.dtype);
    return {nullptr, [bytes] { return std::vector<std::byte>(bytes); }, bytes};
  }

  const Source& source_;
  const Recipes& recipes_;
  const ConvertOptions& options_;
  const Context& ctx_;
  std::map<std::vector<std::string>, std::vector<const BoundTensor*>> stays_;
};

}  // namespace

Source::Source(const fs::path& directory)
    : directory(directory),
      files(directory),
      spec(read_model_spec(directory)),
      index(CheckpointIndex::open(directory)),
      bound(bind_checkpoint(spec, index)) {}

const BoundTensor* Source::find(const std::string& slot) const {
  for (const BoundTensor& tensor : bound) {
    if (tensor.wanted.slots.size() == 1 && tensor.wanted.slots[0] == slot) return &tensor;
  }
  return nullptr;
}

const BoundTensor& Source::holding(const std::string& slot) const {
  if (const BoundTensor* found = find(slot)) return *found;
  fail("{}: no tensor holds {}", directory.string(), slot);
}

DType output_dtype(const ConvertOptions& options, DType stored) {
  return options.dtype.empty() ? stored : *dtype_from_config(options.dtype);
}

OutputPlan plan_output(const Source& source, const std::vector<std::int64_t>& layers,
                       const Recipes& recipes, const ConvertOptions& options, const Context& ctx) {
  OutputPlan plan;
  plan.spec = source.spec;
  plan.spec.dtype = output_dtype(options, plan.spec.dtype);
  for (const std::int64_t l : layers) {
    LayerSpec& layer = plan.spec.layers[static_cast<std::size_t>(l)];
    layer.moe = recipes.at(l).moe;
    layer.overlay = true;
  }
  describe_output(source, plan.spec, plan);
  const Planner planner(source, recipes, options, ctx);
  for (const FileTensor& wanted : file_layout(plan.spec)) {
    plan.tensors.push_back(planner.tensor(wanted));
  }
  return plan;
}

}  // namespace moebius

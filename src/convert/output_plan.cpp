#include "convert/output_plan.h"

#include <algorithm>

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
  Planner(const Sources& sources, const std::vector<std::int64_t>& layers, const Recipes& recipes,
          const ConvertOptions& options, const Context& ctx)
      : sources_(sources), layers_(layers), recipes_(recipes), options_(options), ctx_(ctx) {}

  OutputTensor tensor(const FileTensor& wanted) const {
    OutputTensor out{wanted, DType::f32, {}};
    const MoeSlot slot(wanted.slots[0]);
    const bool converted = std::binary_search(layers_.begin(), layers_.end(), slot.layer);
    if (converted && fill_moe(slot, out)) return out;
    keep(out);
    return out;
  }

 private:
  /// Fills `out` with the weights of the first source, or the average of all.
  void keep(OutputTensor& out) const {
    const bool average = options_.rest == OtherWeights::average;
    std::vector<std::vector<WeightSlice>> pieces;  // [source][piece]
    const bool whole = std::all_of(sources_.begin(), sources_.end(), [&](const Source& source) {
      return source.same_tensor(out.wanted) != nullptr;
    });
    for (const Source& source : sources_) {
      pieces.push_back(whole ? std::vector{whole_slice(*source.same_tensor(out.wanted))}
                             : expert_slices(source, out.wanted));
    }
    out.dtype = dtype_of(out.wanted, pieces[0][0].entry->dtype);
    for (std::size_t p = 0; p < pieces[0].size(); ++p) {
      if (!average) {
        out.parts.push_back(copy_of(pieces[0][p], out.dtype));
        continue;
      }
      std::vector<WeightSlice> slices;
      for (const auto& of_source : pieces) slices.push_back(of_source[p]);
      out.parts.push_back(average_part(slices, out.dtype));
    }
  }

  /// The parts of an expert tensor in order: for each expert, those of each slot.
  static std::vector<WeightSlice> expert_slices(const Source& source, const FileTensor& wanted) {
    const bool fused = wanted.expert < 0;
    std::vector<WeightSlice> slices;
    for (std::int64_t e = 0; e < (fused ? wanted.shape[0] : 1); ++e) {
      for (const std::string& slot : wanted.slots) {
        slices.push_back(source.slice(slot, fused ? e : wanted.expert));
      }
    }
    return slices;
  }

  /// Buffers keep the dtype that they are stored in.
  DType dtype_of(const FileTensor& wanted, DType stored) const {
    return is_buffer(wanted.slots[0]) ? stored : output_dtype(options_, stored);
  }

  /// False for weights that the recipe does not compute, in layers that were an MoE before.
  bool fill_moe(const MoeSlot& slot, OutputTensor& out) const {
    const LayerRecipe& recipe = recipes_.at(slot.layer);
    const LayerSpec& before = sources_.front().spec.layers[static_cast<std::size_t>(slot.layer)];
    const auto values = recipe.router.find(slot.part);
    const bool given = slot.module == "router" && values != recipe.router.end();
    if (before.moe && slot.module != "experts" && !given) return false;
    const std::string place = fmt::format("layers.{}.{}.", slot.layer, before.moe ? "moe" : "ffn");
    if (slot.module == "bias") {  // down's, added once
      const WeightSlice bias = sources_.front().slice(place + "down.bias");
      out.dtype = output_dtype(options_, bias.entry->dtype);
      out.parts.push_back(copy_of(bias, out.dtype));
    } else if (slot.module == "router" || slot.module == "shared_gate") {
      const std::string norm = fmt::format("layers.{}.ffn_norm.weight", slot.layer);
      const std::string stored = before.moe ? place + "router." + slot.part : norm;
      const DType dtype = sources_.front().slice(stored).entry->dtype;
      out.dtype = dtype_of(out.wanted, dtype);
      out.parts.push_back(given ? values_part(values->second, out.dtype) : zero_part(out));
    } else if (slot.module == "shared") {
      fill_ffn(*recipe.shared, place, before.width, out);
    } else {
      const auto fill = [&](const FfnRecipe& expert) {
        if (before.moe) {
          fill_ffn(expert, place + "experts.", before.moe->width, out);
        } else {
          fill_ffn(expert, place, before.width, out);
        }
      };
      if (out.wanted.expert >= 0) {
        fill(recipe.experts[static_cast<std::size_t>(out.wanted.expert)]);
      } else {
        for (const FfnRecipe& expert : recipe.experts) fill(expert);
      }
    }
    return true;
  }

  /// Appends the slots of one FFN to `out`; `place` is the prefix of its origins' slots.
  void fill_ffn(const FfnRecipe& ffn, const std::string& place, std::int64_t width,
                OutputTensor& out) const {
    for (const std::string& name : out.wanted.slots) {
      const std::string part = MoeSlot(name).part;
      std::vector<WeightSlice> origins;
      for (const FfnOrigin& origin : ffn.origins) {
        origins.push_back(sources_[origin.source].slice(place + part, origin.expert));
      }
      out.dtype = output_dtype(options_, origins[0].entry->dtype);
      out.parts.push_back(is_copy(ffn, part, width) ? copy_of(origins[0], out.dtype)
                                                    : ffn_part(ffn, part, origins, out.dtype));
    }
  }

  TensorPart ffn_part(const FfnRecipe& recipe, const std::string& part,
                      const std::vector<WeightSlice>& origins, DType dtype) const {
    const std::size_t elements = ffn_tensor_elements(recipe, part, origins[0]);
    return {nullptr,
            [&recipe, part, origins, dtype, seed = ctx_.seed, threads = ctx_.threads] {
              return make_ffn_tensor(recipe, part, origins, dtype, seed, threads);
            },
            elements * size_of(dtype)};
  }

  static WeightSlice whole_slice(const BoundTensor& tensor) {
    return {tensor.found, 0, tensor.found->shape, tensor.wanted.transposed};
  }

  TensorPart copy_of(const WeightSlice& slice, DType dtype) const {
    if (slice.whole() && slice.entry->dtype == dtype) return {slice.entry, {}, slice.entry->bytes};
    return {nullptr,
            [slice, dtype, threads = ctx_.threads] {
              if (slice.entry->dtype == dtype) {
                const std::byte* data = slice.entry->data + slice.begin * size_of(dtype);
                return std::vector<std::byte>(data, data + slice.elements() * size_of(dtype));
              }
              return store_weights(slice.elements(), dtype, threads,
                                   [&](std::size_t i) { return slice[i]; });
            },
            slice.elements() * size_of(dtype)};
  }

  /// The mean of `slices`, which have equal shapes.
  TensorPart average_part(const std::vector<WeightSlice>& slices, DType dtype) const {
    return {nullptr,
            [slices, dtype, threads = ctx_.threads] {
              return store_weights(slices[0].elements(), dtype, threads, [&](std::size_t i) {
                double sum = 0;
                for (const WeightSlice& slice : slices) sum += slice[i];
                return static_cast<float>(sum / static_cast<double>(slices.size()));
              });
            },
            slices[0].elements() * size_of(dtype)};
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

  const Sources& sources_;
  const std::vector<std::int64_t>& layers_;
  const Recipes& recipes_;
  const ConvertOptions& options_;
  const Context& ctx_;
};

/// The part of `tensor` that is `slot`, one of its slots; `expert` as in Source::slice.
WeightSlice slice_of(const BoundTensor& tensor, const std::string& slot, std::int64_t expert) {
  const auto& slots = tensor.wanted.slots;
  const auto which = std::find(slots.begin(), slots.end(), slot) - slots.begin();
  const auto parts = static_cast<std::int64_t>(slots.size());
  WeightSlice slice{tensor.found, 0, tensor.found->shape, tensor.wanted.transposed};
  if (parts > 1 && slice.transposed) fail("[slice] {} holds parts of rows", tensor.wanted.name);
  const bool stacked = expert >= 0 && tensor.wanted.expert < 0;
  if (stacked) {  // [E, parts * rows, columns]
    slice.shape.erase(slice.shape.begin());
    slice.begin = static_cast<std::size_t>(expert * element_count(slice.shape));
  }
  slice.shape[0] /= parts;
  slice.begin += static_cast<std::size_t>(which * element_count(slice.shape));
  return slice;
}

}  // namespace

Source::Source(const fs::path& directory, const Log& log)
    : directory(directory), files(directory), checkpoint(open_checkpoint(directory, log)) {
  for (const BoundTensor& tensor : bound) {
    for (const std::string& slot : tensor.wanted.slots) {
      by_slot_[{slot, tensor.wanted.expert}] = &tensor;
    }
  }
}

WeightSlice Source::slice(const std::string& slot, std::int64_t expert) const {
  for (const std::int64_t key : {expert, std::int64_t{-1}}) {
    const auto at = by_slot_.find({slot, key});
    if (at != by_slot_.end()) return slice_of(*at->second, slot, expert);
  }
  fail("{}: no tensor holds {}", directory.string(), slot);
}

bool Source::holds(const std::string& slot) const {
  const auto at = by_slot_.lower_bound({slot, -1});
  return at != by_slot_.end() && at->first.first == slot;
}

const BoundTensor* Source::same_tensor(const FileTensor& wanted) const {
  const auto at = by_slot_.find({wanted.slots[0], wanted.expert});
  const bool same = at != by_slot_.end() && at->second->wanted.slots == wanted.slots;
  return same ? at->second : nullptr;
}

DType output_dtype(const ConvertOptions& options, DType stored) {
  return options.dtype.empty() ? stored : *dtype_from_config(options.dtype);
}

OutputPlan plan_output(const Sources& sources, const std::vector<std::int64_t>& layers,
                       const Recipes& recipes, const ConvertOptions& options, const Context& ctx) {
  const Source& source = sources.front();
  OutputPlan plan;
  plan.spec = source.spec;
  plan.spec.dtype = output_dtype(options, plan.spec.dtype);
  plan.spec.expert_layout = expert_layout_from(options.expert_layout);
  for (const std::int64_t l : layers) {
    LayerSpec& layer = plan.spec.layers[static_cast<std::size_t>(l)];
    layer.overlay = layer.overlay || !layer.moe;
    layer.moe = recipes.at(l).moe;
  }
  describe_output(source, plan.spec, plan);
  if (plan.spec.overlay && plan.spec.expert_layout == ExpertLayout::fused) {
    ctx.log.warn("--expert-layout fused: MoebiusForCausalLM keeps its experts separate");
  }
  const Planner planner(sources, layers, recipes, options, ctx);
  for (const FileTensor& wanted : file_layout(plan.spec)) {
    plan.tensors.push_back(planner.tensor(wanted));
  }
  return plan;
}

OutputPlan plan_source(const Sources& sources, const ConvertOptions& options, const Context& ctx) {
  OutputPlan plan;
  plan.spec = sources.front().spec;
  ConvertOptions as_stored = options;
  as_stored.dtype.clear();
  const std::vector<std::int64_t> no_layers;
  const Recipes no_recipes;
  const Planner planner(sources, no_layers, no_recipes, as_stored, ctx);
  for (const BoundTensor& tensor : sources.front().bound) {
    plan.tensors.push_back(planner.tensor(tensor.wanted));
  }
  return plan;
}

}  // namespace moebius

// The tensors of a weight file by name and shape: the rules of a family expanded by layer and
// expert, with the names of an overlay derived from those of the dense FFN.
#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "config/families.h"

namespace moebius {
namespace {

/// Collects the tensors of a layout; slots with one name become parts of one tensor.
class LayoutBuilder {
 public:
  /// `slot_shape` without the leading E where `expert` >= 0.
  void add(const std::string& name, const std::string& slot, Shape slot_shape, bool transposed,
           std::int64_t expert) {
    const auto [at, fresh] = by_name_.try_emplace(name, tensors_.size());
    if (fresh) {
      if (transposed)
        std::swap(slot_shape[slot_shape.size() - 1], slot_shape[slot_shape.size() - 2]);
      tensors_.push_back({name, std::move(slot_shape), transposed, expert, {slot}});
      return;
    }
    FileTensor& tensor = tensors_[at->second];
    // The output dimension: rows of a matrix, columns if it is stored transposed, a bias's only
    // one.
    const std::size_t rank = tensor.shape.size();
    const std::size_t output = rank == 1 || tensor.transposed ? rank - 1 : rank - 2;
    const std::int64_t share =
        tensor.shape[output] / static_cast<std::int64_t>(tensor.slots.size());
    tensor.shape[output] += share;
    tensor.slots.push_back(slot);
  }

  std::vector<FileTensor> take() { return std::move(tensors_); }

 private:
  std::vector<FileTensor> tensors_;
  std::map<std::string, std::size_t> by_name_;
};

/// "layers.3.moe.experts.up.weight" -> "layers.{l}.moe.experts.up.weight" and 3; -1 without layer.
std::pair<std::string, std::int64_t> split_layer(const std::string& slot) {
  constexpr std::string_view prefix = "layers.";
  if (!slot.starts_with(prefix)) return {slot, -1};
  const auto dot = slot.find('.', prefix.size());
  return {"layers.{l}" + slot.substr(dot), std::stoll(slot.substr(prefix.size(), dot))};
}

const NameRule* find_rule(const std::vector<NameRule>& rules, std::string_view slot) {
  for (const NameRule& rule : rules) {
    if (rule.slot == slot) return &rule;
  }
  return nullptr;
}

bool by_expert(const NameRule& rule) {
  return rule.name.find("{e}") != std::string_view::npos;
}

/// Whether the family's usual names have one tensor per expert.
bool usually_separate(const Family& family) {
  return std::any_of(family.rules.begin(), family.rules.end(), by_expert);
}

using Chooser = std::function<bool(std::string_view name)>;

/// The rule of `slot`: an alternative if `choose` takes its name in `layer`, else the usual one,
/// null if there is none.
const NameRule* choose_rule(const Family& family, std::string_view slot, std::int64_t layer,
                            const Chooser& choose) {
  const NameRule* other = find_rule(family.alternatives, slot);
  if (other != nullptr && choose(substitute(other->name, "l", layer))) return other;
  return find_rule(family.rules, slot);
}

/// "layers.{l}.moe.experts.up.weight" -> {"experts", "layers.{l}.ffn.up.weight"}.
std::pair<std::string, std::string> dense_twin(const std::string& slot) {
  constexpr std::string_view prefix = "layers.{l}.moe.";
  const std::string rest = slot.substr(prefix.size());
  const auto dot = rest.find('.');
  return {rest.substr(0, dot), "layers.{l}.ffn" + rest.substr(dot)};
}

/// Whether a slot of an MoE is a tensor that a dense FFN has too.
bool of_ffn(std::string_view slot) {
  return slot.find(".moe.experts.") != std::string_view::npos ||
         slot.find(".moe.shared.") != std::string_view::npos;
}

}  // namespace

std::string overlay_name(const Family& family, std::int64_t layer, std::string_view module,
                         std::string_view dense_name) {
  const std::string place = fmt::format("{}.{}.", family.layer_list, layer);
  const std::string ffn = fmt::format("{}{}.", place, family.ffn_module);
  const std::string name = substitute(dense_name, "l", layer);
  const std::size_t cut = family.ffn_in_layer ? place.size() : ffn.size();
  return fmt::format("{}{}.{}", ffn, module, std::string_view(name).substr(cut));
}

std::vector<FileTensor> stored_layout(const ModelSpec& spec, const Chooser& holds) {
  const Family& family = family_of(spec.family, "model");
  LayoutBuilder layout;
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, const Shape& shape) {
        if (shape.empty()) return;
        const auto [general, layer] = split_layer(slot);
        const bool of_overlay = general.starts_with("layers.{l}.moe.") &&
                                spec.layers[static_cast<std::size_t>(layer)].overlay;
        if (of_overlay && !of_ffn(general)) {  // model.layers.3.mlp.router.weight
          const auto own = general.substr(std::string_view("layers.{l}.moe.").size());
          layout.add(fmt::format("{}.{}.{}.{}", family.layer_list, layer, family.ffn_module, own),
                     slot, shape, false, -1);
          return;
        }
        const auto [module, twin] =
            of_overlay ? dense_twin(general) : std::pair{std::string(), general};
        const NameRule* rule =
            of_overlay ? find_rule(family.rules, twin) : choose_rule(family, general, layer, holds);
        if (rule == nullptr) {
          fail("family {} has no name for {}; its row lacks a rule", family.model_type, slot);
        }
        const bool separate = of_overlay ? module == "experts" : by_expert(*rule);
        const Shape stored = separate ? Shape(shape.begin() + 1, shape.end()) : shape;
        for (std::int64_t e = 0; e < (separate ? shape[0] : 1); ++e) {
          std::string name;
          if (of_overlay) {
            const std::string path = separate ? fmt::format("experts.{}", e) : module;
            name = overlay_name(family, layer, path, rule->name);
          } else {
            name = substitute(substitute(rule->name, "l", layer), "e", e);
          }
          layout.add(name, slot, stored, rule->transposed, separate ? e : -1);
        }
      },
      shapes);
  return layout.take();
}

std::vector<FileTensor> file_layout(const ModelSpec& spec) {
  const Family& family = family_of(spec.family, "model");
  const bool separate = usually_separate(family);
  if (spec.expert_layout == ExpertLayout::separate && !family.alternatives.empty() && !separate) {
    throw UsageError(fmt::format("--expert-layout separate: files of a {} hold its experts fused",
                                 family.model_type));
  }
  const bool fused = spec.expert_layout == ExpertLayout::fused && separate;
  return stored_layout(spec, [fused](std::string_view) { return fused; });
}

}  // namespace moebius

// The table of families: a row reads a Hugging Face configuration into a ModelSpec and lists the
// names of weights in files, for reading and writing. Adding a family adds a row.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "config/weights.h"

namespace moebius {

/// The name of one slot of `WeightsOf` in files. In both names `{l}` is the layer; `{e}` in `name`
/// means one tensor per expert, stacked in the slot.
struct NameRule {
  std::string_view slot, name;
  bool transposed = false;  ///< stored [in, out], as GPT-2's Conv1D does
};

/// One row. Rules with the same `name` are parts of one stored tensor, equal shares of its output
/// dimension in the order of the rules.
struct Family {
  std::string_view model_type;             ///< of config.json
  std::string architecture, config_class;  ///< classes in transformers
  void (*read)(const JsonView& config, ModelSpec& spec);
  std::vector<NameRule> rules;
  std::vector<std::string_view> ignored;  ///< names of tensors to ignore; '*' matches anything
  std::string_view optional_prefix;       ///< of names, which files may omit
  std::string_view layer_list;            ///< "model.layers"
  std::string_view ffn_module;            ///< "mlp", which an overlay replaces
  bool ffn_in_layer = false;  ///< the FFN's matrices are members of the layer, as in OPT
  /// Names that files may have instead of those of `rules`: fused experts, as transformers 5 holds
  /// them in memory and writes them with save_original_format=False.
  std::vector<NameRule> alternatives;
};

std::span<const Family> families();
/// Throws Error, listing the known ones, for another.
const Family& family_of(std::string_view model_type, std::string_view where);

/// Reads DIRECTORY/config.json and generation_config.json, in the old and the transformers-5
/// spelling. Throws Error naming file and key.
ModelSpec read_model_spec(const fs::path& directory);
/// The same from a configuration alone; `where` names it in errors.
ModelSpec parse_model_spec(const Json& config, const std::string& where);

/// A tensor in a file: `slots` concatenated along the output dimension, of one expert where
/// `expert` >= 0 and of all otherwise, then transposed if `transposed`.
struct FileTensor {
  std::string name;
  Shape shape;
  bool transposed = false;
  std::int64_t expert = -1;
  std::vector<std::string> slots;
};

/// Every tensor that a checkpoint written from `spec` holds, experts as `spec.expert_layout` says;
/// those of overlays are always separate. Throws UsageError where a family has no such layout.
std::vector<FileTensor> file_layout(const ModelSpec& spec);

/// The same for a checkpoint that exists: a slot has its alternative name where `holds` is true for
/// it.
std::vector<FileTensor> stored_layout(const ModelSpec& spec,
                                      const std::function<bool(std::string_view name)>& holds);

/// Name of an overlay's tensor: `model.layers.3.mlp.up_proj.weight`, expert 2 ->
/// `model.layers.3.mlp.experts.2.up_proj.weight`; `module` may also be "shared".
std::string overlay_name(const Family& family, std::int64_t layer, std::string_view module,
                         std::string_view dense_name);

/// Replaces `{key}` in `pattern`.
std::string substitute(std::string_view pattern, std::string_view key, std::int64_t value);
/// Whether `name` matches `pattern`, in which '*' matches any text.
bool matches(std::string_view pattern, std::string_view name);

}  // namespace moebius

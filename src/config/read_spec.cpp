// From a directory's configuration to a ModelSpec: the family's row, then the MoE layers of an
// overlay.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/families.h"
#include "config/family_parts.h"

namespace moebius {
namespace {

/// Replaces dense layers of the family by the MoE layers that `config.moebius` lists.
void read_overlay(const JsonView& overlay, ModelSpec& spec) {
  spec.overlay = true;
  overlay.integer("format", 1, 1);
  for (const JsonView& row : overlay.objects("layers")) {
    const auto count = static_cast<std::int64_t>(spec.layers.size());
    const auto l = static_cast<std::size_t>(row.integer("layer", 0, count - 1));
    MoeSpec moe;
    moe.experts = row.integer("experts", 1, max_experts);
    moe.top_k = row.integer("top_k", 1, max_experts);
    moe.width = row.integer("width", 1, max_size);
    moe.scores = router_scores_from(row.string_or("router_scores", "linear"), row.where());
    moe.weights =
        router_weights_from(row.string_or("router_weights", "softmax_renorm"), row.where());
    moe.groups = row.integer_or("router_groups", moe.experts, 1, max_experts);
    moe.shared_width = row.integer_or("shared_width", 0, 0, max_size);
    moe.shared_gate = row.boolean_or("shared_gate", false);
    moe.router_bias = row.boolean_or("router_bias", false);
    moe.bias_once = row.boolean_or("bias_once", false);
    check_moe(moe, row.where());
    spec.layers[l].moe = moe;
    spec.layers[l].overlay = true;
  }
  spec.balance_coefficient = overlay.number_or("balance_coefficient", 0.01);
}

/// Sizes that are valid one by one may be absurd together: counting and listing the weights must
/// neither overflow nor fill the memory.
void check_extent(const ModelSpec& spec, const std::string& where) {
  constexpr std::int64_t max_elements = std::int64_t{1} << 40, max_tensors = 1 << 18;
  std::int64_t tensors = 0;
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, const Shape& shape) {
        __int128 elements = 1;
        for (const std::int64_t size : shape)
          elements = std::min<__int128>(elements * size, max_elements + 1);
        if (elements > max_elements) {
          fail("{}: asks for a weight {} of {} elements, more than 2^40", where, slot,
               to_string(shape));
        }
        const bool by_expert = slot.find(".experts.") != std::string::npos;
        tensors += shape.empty() ? 0 : by_expert ? shape[0] : 1;
      },
      shapes);
  if (tensors > max_tensors) {
    fail("{}: its layers and experts ask for {} tensors, more than {}", where, tensors,
         max_tensors);
  }
}

}  // namespace

const Family& family_of(std::string_view model_type, std::string_view where) {
  std::string known;
  for (const Family& family : families()) {
    if (family.model_type == model_type) return family;
    known += known.empty() ? "" : ", ";
    known += family.model_type;
  }
  throw Error(fmt::format("{}: unknown architecture: model_type \"{}\"", where, model_type),
              "known: " + known);
}

ModelSpec parse_model_spec(const Json& config, const std::string& where) {
  const JsonView view(config, where);
  ModelSpec spec;
  const std::string model_type = view.string("model_type");
  const bool overlay = model_type == "moebius";
  spec.family = overlay ? view.object("moebius").string("family") : model_type;
  family_of(spec.family, where).read(view, spec);
  if (overlay) read_overlay(view.object("moebius"), spec);

  const std::string dtype = view.string_or("dtype", view.string_or("torch_dtype", "float32"));
  const auto parsed = dtype_from_config(dtype);
  if (!parsed || !is_weight_dtype(*parsed)) {
    view.fail_key("dtype", fmt::format("is {}; known: float32, float16, bfloat16", dtype));
  }
  spec.dtype = *parsed;
  if (spec.embed_dim == 0) spec.embed_dim = spec.d_model;
  spec.initializer_range = view.number_or("initializer_range", 0.02);
  if (const auto bos = view.integers("bos_token_id"); !bos.empty()) spec.bos = bos[0];
  spec.eos = view.integers("eos_token_id");
  check_extent(spec, where);
  return spec;
}

ModelSpec read_model_spec(const fs::path& directory) {
  if (!fs::is_directory(directory)) {
    throw Error(fmt::format("{}: no such directory", directory.string()),
                "give a directory in Hugging Face layout");
  }
  const fs::path file = directory / "config.json";
  ModelSpec spec = parse_model_spec(parse_json_file(file), file.string());
  const fs::path generation = directory / "generation_config.json";
  if (fs::exists(generation)) {
    const Json json = parse_json_file(generation);
    const JsonView view(json, generation.string());
    // As in transformers: the file replaces what config.json says, be it with nothing.
    auto eos = view.integers("eos_token_id");
    spec.stops_at_eos = !eos.empty();
    if (!eos.empty()) spec.eos = std::move(eos);
    if (const auto bos = view.integers("bos_token_id"); !bos.empty()) spec.bos = bos[0];
  }
  return spec;
}

std::string substitute(std::string_view pattern, std::string_view key, std::int64_t value) {
  std::string out(pattern);
  const std::string mark = fmt::format("{{{}}}", key);
  if (const auto at = out.find(mark); at != std::string::npos) {
    out.replace(at, mark.size(), std::to_string(value));
  }
  return out;
}

bool matches(std::string_view pattern, std::string_view name) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  pattern.remove_prefix(star + 1);
  name.remove_prefix(star);
  for (std::size_t skip = 0; skip <= name.size(); ++skip) {
    if (matches(pattern, name.substr(skip))) return true;
  }
  return false;
}

}  // namespace moebius

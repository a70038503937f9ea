#include "convert/plan_file.h"

#include <array>
#include <set>

#include "config/yaml.h"
#include "convert/choose_layers.h"

namespace moebius {
namespace {

constexpr std::array<std::string_view, 2> keys_beside_options{"layers", "prompts"};

std::vector<ExpertPrompts> read_prompts(const YAML::Node& list, const fs::path& file) {
  const std::string where = yaml_place(file, list) + ": prompts";
  if (!list.IsSequence()) throw UsageError(where + ": a list, one entry an expert, was expected");
  std::vector<ExpertPrompts> prompts;
  for (const auto& entry : list) {
    if (!entry.IsMap()) throw UsageError(where + ": an entry has positive, and maybe negative");
    ExpertPrompts& expert = prompts.emplace_back();
    for (const auto& texts : entry) {
      const auto name = texts.first.as<std::string>();
      const std::string place = fmt::format("{}: {}", yaml_place(file, texts.first), name);
      if (name != "positive" && name != "negative") {
        throw UsageError(place + ": unknown key", "an entry has positive, and maybe negative");
      }
      (name == "positive" ? expert.positive : expert.negative) = yaml_values(texts.second, place);
    }
    if (expert.positive.empty()) {
      throw UsageError(fmt::format("{}: expert {} has no positive prompt", yaml_place(file, entry),
                                   prompts.size() - 1));
    }
  }
  return prompts;
}

std::string joined(const std::vector<std::string>& values) {
  return fmt::format("{}", fmt::join(values, ","));
}

LayerPlan read_row(const YAML::Node& row, const ConvertOptions& options, std::int64_t count) {
  LayerPlan plan;
  plan.options = options;
  plan.where = yaml_place(options.plan, row);
  if (!row.IsMap()) throw UsageError(plan.where + ": a row with layers and options was expected");
  OptionSet known;
  plan.options.declare(known);
  apply_yaml(row, options.plan, known, keys_beside_options);
  if (!row["layers"]) throw UsageError(plan.where + ": names no layers");
  const auto layers = yaml_values(row["layers"], plan.where + ": layers");
  plan.layers = choose_layers(joined(layers), 1, count);
  if (row["prompts"]) plan.prompts = read_prompts(row["prompts"], options.plan);
  return plan;
}

}  // namespace

std::vector<LayerPlan> read_plan(const ConvertOptions& options, std::int64_t layer_count) {
  if (options.plan.empty()) {
    return {{options, choose_layers(options.layers, options.every, layer_count), {}, ""}};
  }
  if (!options.layers.empty()) throw UsageError("--layers: not with --plan, which names them");
  const YAML::Node root = load_yaml(options.plan);
  if (!root.IsSequence() || root.size() == 0) {
    throw UsageError(fmt::format("{}: a list of rows was expected", options.plan.string()),
                     "a row: {layers: 0-3, method: upcycle, experts: 8, top-k: 2}");
  }
  std::vector<LayerPlan> rows;
  std::set<std::int64_t> seen;
  for (const auto& node : root) {
    rows.push_back(read_row(node, options, layer_count));
    for (const std::int64_t layer : rows.back().layers) {
      if (seen.insert(layer).second) continue;
      throw UsageError(fmt::format("{}: layer {} again", rows.back().where, layer));
    }
  }
  return rows;
}

}  // namespace moebius

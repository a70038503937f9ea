#include <nlohmann/json.hpp>

#include "checkpoint/index.h"
#include "checkpoint/packed.h"
#include "cli/commands.h"
#include "config/families.h"
#include "hub/resolve.h"

namespace moebius::cli {
namespace {

struct InfoOptions {
  fs::path model;

  void declare(OptionSet& options) {
    options.positional("MODEL", model,
                       "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  }
};

Json layer_json(const LayerSpec& layer, std::size_t number) {
  Json row;
  row["layer"] = number;
  row["kind"] = layer.moe ? "moe" : "dense";
  row["experts"] = layer.moe ? layer.moe->experts : 0;
  row["top_k"] = layer.moe ? layer.moe->top_k : 0;
  row["shared"] = layer.moe ? layer.moe->shared_width : 0;
  row["width"] = layer.moe ? layer.moe->width : layer.width;
  row["window"] = layer.window;
  if (layer.moe) {
    row["router_scores"] = name_of(layer.moe->scores);
    row["router_weights"] = name_of(layer.moe->weights);
    row["router_groups"] = layer.moe->groups;
  }
  return row;
}

/// Bytes of all weights, and what they are stored as.
std::pair<std::size_t, std::string> storage_of(const ModelSpec& spec, const fs::path& directory) {
  if (has_packed_weights(directory)) {
    const std::string weights =
        JsonView(read_packed_manifest(directory), directory.string()).string("weights");
    std::size_t bytes = 0;
    for (const TensorEntry& entry : read_safetensors(directory / packed_weights_name)) {
      bytes += entry.bytes;
    }
    return {bytes, weights};
  }
  const CheckpointIndex index = CheckpointIndex::open(directory);
  bind_checkpoint(spec, index);
  return {index.bytes(), std::string(short_name(spec.dtype))};
}

Json describe(const fs::path& directory) {
  const ModelSpec spec = read_model_spec(directory);
  const auto [bytes, stored] = storage_of(spec, directory);
  const ModelCost cost = model_cost(spec);
  Json out;
  out["architecture"] = spec.overlay ? "moebius over " + spec.family : spec.family;
  out["parameters"] = cost.parameters;
  out["active_parameters"] = cost.active_parameters;
  out["bytes"] = bytes;
  out["flops_per_token"] = cost.flops_per_token;
  out["vocabulary"] = spec.vocab;
  out["context"] = spec.context;
  out["width"] = spec.d_model;
  out["heads"] = spec.heads;
  out["kv_heads"] = spec.kv_heads;
  out["dtype"] = stored;
  out["tied"] = spec.tied;
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    out["layers"].push_back(layer_json(spec.layers[l], l));
  }
  if (const fs::path file = directory / "conversion.json"; fs::exists(file)) {
    const Json conversion = parse_json_file(file);
    out["converted"] = conversion.value("layers", Json::array());
  }
  return out;
}

void print_table(const Json& info) {
  const auto millions = [&](const char* key) { return info[key].get<double>() / 1e6; };
  print(fmt::format("architecture       {}\n", info["architecture"].get<std::string>()));
  print(fmt::format("parameters         {:.3f} M, {:.3f} M active\n", millions("parameters"),
                    millions("active_parameters")));
  print(fmt::format("bytes              {:.3f} MB ({})\n", millions("bytes"),
                    info["dtype"].get<std::string>()));
  print(fmt::format("FLOPs per token    {:.3f} M\n", millions("flops_per_token")));
  print(fmt::format("vocabulary         {}\ncontext            {}\n",
                    info["vocabulary"].get<std::int64_t>(), info["context"].get<std::int64_t>()));
  print(fmt::format("width, heads       {}, {} ({} for keys and values)\n",
                    info["width"].get<std::int64_t>(), info["heads"].get<std::int64_t>(),
                    info["kv_heads"].get<std::int64_t>()));
  print("layers\n");
  for (const Json& layer : info["layers"]) {
    const bool moe = layer["kind"] == "moe";
    print(fmt::format(
        "  {:>3}  {:<5}  width {}{}\n", layer["layer"].get<std::int64_t>(),
        layer["kind"].get<std::string>(), layer["width"].get<std::int64_t>(),
        moe ? fmt::format(" x {} experts, top-{}, {}", layer["experts"].get<std::int64_t>(),
                          layer["top_k"].get<std::int64_t>(),
                          layer["router_weights"].get<std::string>())
            : ""));
  }
  if (info.contains("converted")) {
    for (const Json& row : info["converted"]) {
      print(fmt::format("converted          layer {}: {}, {}\n", row["layer"].get<std::int64_t>(),
                        row["method"].get<std::string>(),
                        row["kept"].get<bool>() ? "kept" : "reverted"));
    }
  }
}

}  // namespace

void run_info(const Command& self, const Arguments& arguments) {
  const Invocation<InfoOptions> call(self, arguments);
  const Json info = describe(resolve_model(call.job.model, ModelParts::all, call.ctx));
  call.common.json ? print_json(info) : print_table(info);
}

}  // namespace moebius::cli

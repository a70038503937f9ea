#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
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

/// What the weights of a model take, and as what they are stored.
struct Storage {
  std::size_t bytes = 0;
  std::string type;
  bool present = true;  ///< false: there are no weight files, `bytes` is what they would take
};

Storage packed_storage(const fs::path& directory) {
  Storage storage;
  storage.type = JsonView(read_packed_manifest(directory), directory.string()).string("weights");
  for (const TensorEntry& entry : read_safetensors(directory / packed_weights_name)) {
    storage.bytes += entry.bytes;
  }
  return storage;
}

/// By the dtype of config.json; buffers are f32.
Storage expected_storage(const ModelSpec& spec) {
  Storage storage{0, std::string(short_name(spec.dtype)), false};
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, const Shape& shape) {
        storage.bytes += static_cast<std::size_t>(element_count(shape)) *
                         size_of(is_buffer(slot) ? DType::f32 : spec.dtype);
      },
      shapes);
  return storage;
}

/// `spec` becomes what the weights say, where there are any.
Storage storage_of(const fs::path& directory, ModelSpec& spec, const Log& log) {
  if (has_packed_weights(directory)) return packed_storage(directory);
  if (!has_weights(directory)) return expected_storage(spec);
  const Checkpoint opened = open_checkpoint(directory, log);
  spec = opened.spec;
  return {opened.index.bytes(), std::string(short_name(spec.dtype)), true};
}

Json describe(const fs::path& directory, const Log& log) {
  ModelSpec spec = read_model_spec(directory);
  const auto [bytes, stored, present] = storage_of(directory, spec, log);
  const ModelCost cost = model_cost(spec);
  Json out;
  out["architecture"] = spec.overlay ? "moebius over " + spec.family : spec.family;
  out["parameters"] = cost.parameters;
  out["active_parameters"] = cost.active_parameters;
  out["bytes"] = bytes;
  out["weights_present"] = present;
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

std::string layer_text(const Json& layer) {
  std::string text = fmt::format("{:<5}  width {}", layer["kind"].get<std::string>(),
                                 layer["width"].get<std::int64_t>());
  if (layer["kind"] != "moe") return text;
  return text + fmt::format(" x {} experts, top-{}, {}", layer["experts"].get<std::int64_t>(),
                            layer["top_k"].get<std::int64_t>(),
                            layer["router_weights"].get<std::string>());
}

/// Consecutive layers that are equal in all that `--json` says are one line, "0-29".
void print_layers(const Json& layers) {
  const auto same = [&](std::size_t a, std::size_t b) {
    Json first = layers[a], second = layers[b];
    first.erase("layer");
    second.erase("layer");
    return first == second;
  };
  for (std::size_t begin = 0, end = 0; begin < layers.size(); begin = end) {
    while (end < layers.size() && same(begin, end)) ++end;
    const std::string range =
        end - begin == 1 ? fmt::format("{}", begin) : fmt::format("{}-{}", begin, end - 1);
    print(fmt::format("  {:>7}  {}\n", range, layer_text(layers[begin])));
  }
}

void print_table(const Json& info) {
  const auto millions = [&](const char* key) { return info[key].get<double>() / 1e6; };
  print(fmt::format("architecture       {}\n", info["architecture"].get<std::string>()));
  print(fmt::format("parameters         {:.3f} M, {:.3f} M active\n", millions("parameters"),
                    millions("active_parameters")));
  print(fmt::format("bytes              {:.3f} MB ({}{})\n", millions("bytes"),
                    info["dtype"].get<std::string>(),
                    info["weights_present"].get<bool>() ? "" : ", without weight files"));
  print(fmt::format("FLOPs per token    {:.3f} M\n", millions("flops_per_token")));
  print(fmt::format("vocabulary         {}\ncontext            {}\n",
                    info["vocabulary"].get<std::int64_t>(), info["context"].get<std::int64_t>()));
  print(fmt::format("width, heads       {}, {} ({} for keys and values)\n",
                    info["width"].get<std::int64_t>(), info["heads"].get<std::int64_t>(),
                    info["kv_heads"].get<std::int64_t>()));
  print("layers\n");
  print_layers(info["layers"]);
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
  const Json info =
      describe(resolve_model(call.job.model, ModelParts::all, call.ctx), call.ctx.log);
  call.common.json ? print_json(info) : print_table(info);
}

}  // namespace moebius::cli

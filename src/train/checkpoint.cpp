#include "train/checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/staged.h"
#include "checkpoint/companions.h"
#include "checkpoint/modeling.h"
#include "checkpoint/writer.h"

namespace moebius {
namespace {

constexpr std::string_view prefix = "checkpoint-";
constexpr const char* state_folder = "training";  // tensors beside a model's would be foreign to it

/// Number of a checkpoint directory, or -1 for other names.
std::int64_t number_of(const fs::path& path) {
  const std::string name = path.filename().string();
  std::int64_t number = -1;
  if (name.starts_with(prefix)) {
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
  }
  return number;
}

/// Those beyond `step` are of a future that this run left when it resumed before it.
void remove_old(const fs::path& run, std::int64_t step, std::int64_t keep) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  for (const auto& entry : fs::directory_iterator(run)) {
    if (const std::int64_t n = number_of(entry.path()); n >= 0) found.emplace_back(n, entry.path());
  }
  std::erase_if(found, [step](const auto& each) {
    return each.first > step && fs::remove_all(each.second) > 0;
  });
  std::sort(found.rbegin(), found.rend());
  for (std::size_t i = static_cast<std::size_t>(keep); i < found.size(); ++i) {
    fs::remove_all(found[i].second);
  }
}

/// Whether two models have the same tree of weights; leaves may still differ in shape.
bool same_structure(const ModelSpec& a, const ModelSpec& b) {
  return std::equal(a.layers.begin(), a.layers.end(), b.layers.begin(), b.layers.end(),
                    [](const LayerSpec& x, const LayerSpec& y) {
                      return x.moe.has_value() == y.moe.has_value();
                    });
}

void write_state(const fs::path& folder, const TrainState& state, Optimizer& optimizer) {
  fs::create_directory(folder);
  std::vector<TensorMeta> metas;
  const auto tensors = optimizer.state();
  for (const auto& [name, tensor] : tensors) {
    metas.push_back({name, DType::f32, tensor.sizes().vec()});
  }
  ShardedWriter writer(folder, metas, SIZE_MAX);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const at::Tensor bytes = tensors[t].second.to(at::kCPU, at::kFloat).contiguous();
    writer.write(t, {static_cast<const std::byte*>(bytes.const_data_ptr()), bytes.nbytes()});
  }
  writer.finish();
  const Json json{{"step", state.step},
                  {"tokens", state.tokens},
                  {"seconds", state.seconds},
                  {"objective", state.objective}};
  OutputFile(folder / "state.json").append(json.dump(2) + "\n");
}

}  // namespace

void write_model(const Model& model, DType dtype, const Origin& origin, const fs::path& directory,
                 std::size_t max_shard_bytes) {
  Json json = carried_config(parse_json(origin.config, "config.json"), model.spec);
  json.erase("torch_dtype");
  json["dtype"] = config_name(dtype);
  OutputFile(directory / "config.json").append(json.dump(2) + "\n");
  copy_tokenizer(origin.tokenizer, directory);
  if (!origin.generation.empty()) copy_generation_config(origin.generation, directory);
  if (model.spec.overlay) {
    const Family& family = family_of(model.spec.family, directory.string());
    OutputFile(directory / "modeling_moebius.py").append(modeling_code(family));
  }
  save_weights(model.spec, model.weights, dtype, directory, max_shard_bytes);
}

void save_checkpoint(const fs::path& run, const TrainState& state, const Model& model,
                     const Origin& origin, Optimizer& optimizer, std::int64_t keep,
                     std::size_t max_shard_bytes) {
  const std::string name = fmt::format("{}{}", prefix, state.step);
  StagedDirectory staged(run / name, /*overwrite=*/true);
  write_model(model, DType::f32, origin, staged.path(), max_shard_bytes);
  write_state(staged.path() / state_folder, state, optimizer);
  staged.commit();
  write_file_atomically(run / "latest", name + "\n");
  remove_old(run, state.step, keep);
}

std::optional<TrainState> load_checkpoint(const fs::path& run, Model& model, Optimizer& optimizer) {
  if (!fs::exists(run / "latest")) return std::nullopt;
  std::string name = read_file(run / "latest");
  while (!name.empty() && (name.back() == '\n' || name.back() == '\r')) name.pop_back();
  if (number_of(name) < 0 || name.find('/') != std::string::npos) {
    fail("{}: \"{}\" is not the name of a checkpoint", (run / "latest").string(), name);
  }
  const at::NoGradGuard no_grad;
  const fs::path folder = run / name;
  const Model saved = load_model(folder, DType::f32, at::kCPU);
  if (!same_structure(saved.spec, model.spec)) {
    throw Error(
        fmt::format("{}: the checkpoint is of another model than this run's", folder.string()),
        "resume with the same --init or --model-config as before");
  }
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight, const at::Tensor& from) {
        if (!weight.defined()) return;
        if (!from.defined() || from.sizes() != weight.sizes()) {
          fail("{}: {} has another shape than in this run", folder.string(), slot);
        }
        weight.copy_(from);
      },
      model.weights, saved.weights);

  const CheckpointIndex index = CheckpointIndex::open(folder / state_folder);
  for (auto& [key, tensor] : optimizer.state()) {
    const TensorEntry* entry = index.find(key);
    if (entry == nullptr || entry->shape != Shape(tensor.sizes().vec())) {
      throw Error(fmt::format("{}: optimiser state {} is missing or has another shape",
                              folder.string(), key),
                  "resume with the same --train and model as before");
    }
    tensor.copy_(map_tensor(*entry));
  }
  const fs::path file = folder / state_folder / "state.json";
  const Json json = parse_json_file(file);
  const JsonView view(json, file.string());
  TrainState state;
  state.step = view.integer("step", 0, INT64_MAX);
  state.tokens = view.integer("tokens", 0, INT64_MAX);
  state.seconds = view.number("seconds");
  state.objective = view.object("objective").json();
  return state;
}

}  // namespace moebius

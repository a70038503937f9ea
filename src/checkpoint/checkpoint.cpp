#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius {
namespace {

// ---- Quantised sources -------------------------------------------------------------------------

/// Keys of config.json that describe how the weights are stored, not what they are.
constexpr std::array storage_keys{"quantization_config", "compression_config", "quantization"};

/// How the weights are packed according to config.json: "bitsandbytes"; empty where it says none.
std::string stated_method(const Json& config) {
  for (const char* key : storage_keys) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) continue;
    if (found->is_object() && found->contains("quant_method")) {
      if (const Json& method = (*found)["quant_method"]; method.is_string()) {
        return printable(method.get<std::string>());
      }
    }
    return key;
  }
  return {};
}

/// The end of a tensor's name that only quantised weights have, and the method it shows.
struct QuantisedMark {
  std::string_view suffix, method;
};
constexpr QuantisedMark quantised_marks[] = {
    {".qweight", "GPTQ or AWQ"},
    {".weight.absmax", "bitsandbytes"},
    {".SCB", "bitsandbytes"},
    {".weight_packed", "compressed-tensors"},
    {".weight_scale_inv", "FP8"},
    {".weight_scale", "compressed-tensors or FP8"},
    {".W_q", "HQQ"},
    {".codebooks", "AQLM"},
};

/// Throws Error if the tensors are those of quantised weights.
void check_plain(const CheckpointIndex& index, const std::string& method) {
  for (const TensorEntry& tensor : index.tensors()) {
    std::string_view found;
    for (const QuantisedMark& mark : quantised_marks) {
      if (found.empty() && tensor.name.ends_with(mark.suffix)) found = mark.method;
    }
    const bool integers =
        !method.empty() && !is_weight_dtype(tensor.dtype) && tensor.name.ends_with(".weight");
    if (found.empty() && !integers) continue;
    throw Error(
        fmt::format("{}: its weights are quantised ({}), as tensor {} shows; plain ones are needed",
                    index.directory().string(), method.empty() ? found : method, tensor.name),
        "take the model that it was made from, or write it with dequantize() of transformers");
  }
}

// ---- Tied embeddings ---------------------------------------------------------------------------

/// Whether two tensors hold the same numbers.
bool equal_values(const TensorEntry& a, const TensorEntry& b) {
  if (a.shape != b.shape || !is_weight_dtype(a.dtype) || !is_weight_dtype(b.dtype)) return false;
  if (a.dtype == b.dtype) return a.data == b.data || std::memcmp(a.data, b.data, a.bytes) == 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(a.elements()); ++i) {
    if (load_weight(a.data, a.dtype, i) != load_weight(b.data, b.dtype, i)) return false;
  }
  return true;
}

/// The head stays the embedding only if the files hold no other head.
void settle_tie(const CheckpointIndex& index, ModelSpec& spec, const Log& log) {
  if (!spec.tied) return;
  const TensorEntry* head = index.find(stored_name(spec, "head.weight"));
  const TensorEntry* embedding = find_stored(spec, index, stored_name(spec, "embed.weight"));
  if (head == nullptr || embedding == nullptr || equal_values(*head, *embedding)) return;
  spec.tied = false;
  log.warn("{}: config.json says tie_word_embeddings, but {} and {} differ; both are kept, untied",
           index.directory().string(), embedding->name, head->name);
}

// ---- Other facts that two files state ----------------------------------------------------------

void warn_of_eos(const fs::path& directory, const Json& config, const ModelSpec& spec,
                 const Log& log) {
  const auto stated = JsonView(config, directory.string()).integers("eos_token_id");
  if (stated.empty() || !fs::exists(directory / "generation_config.json")) return;
  const bool known = std::all_of(stated.begin(), stated.end(), [&](std::int64_t id) {
    return std::find(spec.eos.begin(), spec.eos.end(), id) != spec.eos.end();
  });
  if (spec.stops_at_eos && known) return;
  log.warn("{}: generation_config.json {}, unlike config.json; generation follows it",
           directory.string(),
           spec.stops_at_eos ? fmt::format("has eos_token_id {}", fmt::join(spec.eos, ", "))
                             : std::string("has no eos_token_id"));
}

/// The dtype of the first tensor that can be a weight.
void take_stored_dtype(const CheckpointIndex& index, ModelSpec& spec) {
  const auto& tensors = index.tensors();
  const auto first = std::find_if(tensors.begin(), tensors.end(), [](const TensorEntry& tensor) {
    return is_weight_dtype(tensor.dtype);
  });
  if (first != tensors.end()) spec.dtype = first->dtype;
}

/// Brings fused experts that are stored transposed into the usual order. Either all of a model are
/// or none: the shape of gate_up_proj alone leaves it open where 2F = D, but then that of down_proj
/// does not.
void orient_experts(const ModelSpec& spec, CheckpointIndex& index) {
  std::vector<std::string> fused;
  bool transposed = false;
  const auto holds = [&](std::string_view name) {
    return find_stored(spec, index, name) != nullptr;
  };
  for (const FileTensor& wanted : stored_layout(spec, holds)) {
    const TensorEntry* found = find_stored(spec, index, wanted.name);
    if (found == nullptr || wanted.shape.size() != 3 || found->shape.size() != 3) continue;
    const Shape other{wanted.shape[0], wanted.shape[2], wanted.shape[1]};
    transposed |= found->shape != wanted.shape && found->shape == other;
    fused.push_back(found->name);
  }
  if (!transposed) return;
  for (const std::string& name : fused) index.transpose(name);
}

}  // namespace

Checkpoint open_checkpoint(const fs::path& directory, const Log& log) {
  Checkpoint opened{directory, read_model_spec(directory), CheckpointIndex::open(directory), {}};
  const Json config = parse_json_file(directory / "config.json");
  const std::string method = stated_method(config);
  check_plain(opened.index, method);
  if (!method.empty()) {
    log.warn("{}: config.json says quantised weights ({}), but they are plain; that is ignored",
             directory.string(), method);
  }
  if (!config.contains("dtype") && !config.contains("torch_dtype")) {
    take_stored_dtype(opened.index, opened.spec);
  }
  settle_tie(opened.index, opened.spec, log);
  warn_of_eos(directory, config, opened.spec, log);
  orient_experts(opened.spec, opened.index);
  opened.bound = bind_checkpoint(opened.spec, opened.index);
  return opened;
}

bool has_weights(const fs::path& directory) {
  const auto formats = weight_formats();
  return std::any_of(formats.begin(), formats.end(), [&](const WeightFormat& format) {
    return fs::exists(directory / format.file) ||
           (!format.index.empty() && fs::exists(directory / format.index));
  });
}

Json carried_config(Json config, const ModelSpec& spec) {
  const bool tied = parse_model_spec(config, "config.json").tied;
  for (const char* key : storage_keys) config.erase(key);
  if (tied != spec.tied) config["tie_word_embeddings"] = spec.tied;
  return config;
}

std::string carried_config(const std::string& text, const std::string& where,
                           const ModelSpec& spec) {
  const Json config = parse_json(text, where);
  const Json carried = carried_config(config, spec);
  return carried == config ? text : carried.dump(2) + "\n";
}

}  // namespace moebius

#include "hub/resolve.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "checkpoint/companions.h"
#include "checkpoint/index.h"
#include "gguf/unpack.h"
#include "hub/download.h"
#include "text/tokenizer.h"

namespace moebius {
namespace {

/// The weight files of a model, the index first if there is one; empty if there are no weights.
/// `has` says whether a file exists, `get` returns its path.
std::vector<std::string> weight_files(const std::function<bool(const std::string&)>& has,
                                      const std::function<fs::path(const std::string&)>& get) {
  for (const WeightFormat& format : weight_formats()) {
    const std::string single(format.file), index(format.index);
    if (has(single)) return {single};
    if (index.empty() || !has(index)) continue;
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : read_weight_map(get(index))) shards.insert(shard);
    std::vector<std::string> files{index};
    files.insert(files.end(), shards.begin(), shards.end());
    return files;
  }
  return {};
}

bool is_complete(const fs::path& snapshot, ModelParts parts) {
  const auto has = [&](const std::string& file) { return fs::exists(snapshot / file); };
  if (!Tokenizer::exists(snapshot)) return false;
  if (parts == ModelParts::tokenizer) return true;
  const auto weights = weight_files(has, [&](const std::string& file) { return snapshot / file; });
  return has("config.json") && !weights.empty() && std::all_of(weights.begin(), weights.end(), has);
}

/// Downloads the needed files that the revision has.
fs::path download(const hub::Settings& settings, const hub::Name& name, ModelParts parts,
                  const Context& ctx) {
  hub::Repository repository(settings, name, ctx);
  const hub::Revision revision = repository.revision();
  const fs::path snapshot = repository.cache().snapshot(revision.commit);
  const auto has = [&](const std::string& file) { return revision.files.contains(file); };
  const auto fetch = [&](const std::string& file) {
    repository.fetch(revision.commit, file);
    return snapshot / file;
  };
  std::vector<std::string> wanted{"config.json"};
  std::copy_if(revision.files.begin(), revision.files.end(), std::back_inserter(wanted),
               is_companion);
  if (parts == ModelParts::all) {
    const auto weights = weight_files(has, fetch);
    if (!has("config.json") || weights.empty()) {
      throw Error(
          fmt::format("{}: holds no config.json with weights that moebius reads", name.text()),
          "those are model.safetensors and pytorch_model.bin, in shards or whole");
    }
    wanted.insert(wanted.end(), weights.begin(), weights.end());
  }
  for (const std::string& file : wanted) {
    if (has(file)) fetch(file);
  }
  repository.cache().write_ref(name.revision, revision.commit);
  return snapshot;
}

}  // namespace

fs::path resolve_model(const fs::path& model, ModelParts parts, const Context& ctx) {
  std::error_code unknown;
  if (is_gguf(model)) return unpack_gguf(model, ctx);
  const auto name = hub::parse_name(model.string());
  if (!name || fs::exists(model, unknown)) return model;
  const hub::Settings settings = hub::Settings::from_environment();
  const auto snapshot = hub::Cache(settings.cache, *name).find(name->revision);
  if (snapshot && (settings.offline || is_complete(*snapshot, parts))) return *snapshot;
  if (settings.offline) {
    throw Error(fmt::format("{}: is not a directory, and {} does not hold a model of that name",
                            name->text(), settings.cache.string()),
                "HF_HUB_OFFLINE is set; without it the model would be downloaded");
  }
  ctx.log.info("{} is no directory; asking {}", name->text(), settings.endpoint);
  return download(settings, *name, parts, ctx);
}

}  // namespace moebius

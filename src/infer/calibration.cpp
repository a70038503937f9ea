#include "infer/calibration.h"

#include <algorithm>

#include "base/error.h"
#include "data/corpus.h"
#include "infer/generate.h"
#include "model/decoder.h"

namespace moebius {

namespace {

constexpr std::int64_t longest_window = 512;

}  // namespace

std::optional<Tokenizer> tokenizer_beside(const fs::path& directory, const ModelSpec& spec) {
  if (!Tokenizer::exists(directory)) return std::nullopt;
  Tokenizer tokenizer = Tokenizer::load(directory);
  check_vocabulary(spec, tokenizer, directory);
  return tokenizer;
}

std::vector<at::Tensor> calibration_windows(const ModelSpec& spec, const fs::path& directory,
                                            const std::optional<Tokenizer>& tokenizer,
                                            const std::vector<std::string>& files,
                                            std::int64_t tokens) {
  if (!tokenizer) {
    throw Error(fmt::format("{}: no tokenizer for --calibration", directory.string()),
                "put the model's tokenizer.json beside its weights");
  }
  std::optional<std::int64_t> eos;
  if (!spec.eos.empty()) eos = spec.eos[0];
  const std::size_t each = (static_cast<std::size_t>(tokens) + files.size() - 1) / files.size();
  std::vector<std::int32_t> ids;
  for (const std::string& file : files) {
    const auto more = tokenize_file(file, "text", *tokenizer, eos);
    ids.insert(ids.end(), more.begin(),
               more.begin() + static_cast<std::ptrdiff_t>(std::min(each, more.size())));
  }
  check_ids(spec, ids);
  const std::size_t length =
      std::min(static_cast<std::size_t>(std::min(longest_window, spec.context)), ids.size());
  if (length < 2) fail("--calibration: {} tokens are too few", ids.size());
  std::vector<at::Tensor> windows;
  for (std::size_t at = 0; at + length <= ids.size(); at += length) {
    windows.push_back(ids_tensor(std::span(ids).subspan(at, length)));
  }
  return windows;
}

}  // namespace moebius

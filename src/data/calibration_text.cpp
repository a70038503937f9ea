#include "data/calibration_text.h"

#include <algorithm>

#include "base/error.h"
#include "data/corpus.h"
#include "data/model_vocabulary.h"

namespace moebius {
namespace {

constexpr std::int64_t longest_window = 512;

}  // namespace

std::vector<std::vector<std::int32_t>> calibration_windows(
    const ModelSpec& spec, const fs::path& directory, const std::optional<Tokenizer>& tokenizer,
    const std::vector<std::string>& files, std::int64_t tokens) {
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
  std::vector<std::vector<std::int32_t>> windows;
  auto begin = ids.begin();
  for (; static_cast<std::size_t>(ids.end() - begin) >= length;
       begin += static_cast<std::ptrdiff_t>(length)) {
    windows.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(length));
  }
  return windows;
}

}  // namespace moebius

#include "convert/choose_layers.h"

#include <charconv>
#include <set>

#include "base/error.h"

namespace moebius {
namespace {

std::int64_t parse_layer(std::string_view text, std::string_view whole, std::int64_t count) {
  std::int64_t layer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc() || end != text.data() + text.size() || layer < 0) {
    throw UsageError(fmt::format("--layers {}: \"{}\" is not a layer", whole, text),
                     "write numbers and ranges such as 0,4,8-11, or all");
  }
  if (layer >= count) {
    fail("--layers {}: layer {} is out of range, the model has layers 0 to {}", whole, layer,
         count - 1);
  }
  return layer;
}

}  // namespace

std::vector<std::int64_t> choose_layers(const std::string& layers, std::int64_t every,
                                        std::int64_t count) {
  std::set<std::int64_t> chosen;
  if (layers.empty()) {
    if (every < 1) throw UsageError(fmt::format("--every {}: must be at least 1", every));
    for (std::int64_t l = 0; l < count; l += every) chosen.insert(l);
  } else if (layers == "all") {
    for (std::int64_t l = 0; l < count; ++l) chosen.insert(l);
  } else {
    for (std::size_t at = 0; at <= layers.size();) {
      const std::size_t comma = std::min(layers.find(',', at), layers.size());
      const std::string_view part = std::string_view(layers).substr(at, comma - at);
      const std::size_t dash = std::min(part.find('-'), part.size());
      const std::int64_t first = parse_layer(part.substr(0, dash), layers, count);
      const std::int64_t last =
          dash == part.size() ? first : parse_layer(part.substr(dash + 1), layers, count);
      if (last < first)
        throw UsageError(fmt::format("--layers {}: {} runs backwards", layers, part));
      for (std::int64_t l = first; l <= last; ++l) chosen.insert(l);
      at = comma + 1;
    }
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace moebius

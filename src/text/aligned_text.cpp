#include "text/aligned_text.h"

#include <limits>

#include "base/error.h"
#include "base/utf8.h"

namespace moebius {

std::vector<ByteRange> identity_origins(std::string_view text) {
  if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
    fail("a text of {} bytes is too long for offsets", text.size());
  }
  std::vector<ByteRange> out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto begin = static_cast<std::uint32_t>(at);
    next_code_point(text, at);
    out.insert(out.end(), at - begin, ByteRange{begin, static_cast<std::uint32_t>(at)});
  }
  return out;
}

}  // namespace moebius

// A tokenizer.json and, behind a NUL, a text that it encodes and decodes.
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

namespace moebius::fuzz {

void try_input(std::span<const std::byte> input) {
  const std::string_view all = text_of(input), file = all.substr(0, all.find('\0'));
  const std::string_view rest = all.substr(std::min(file.size() + 1, all.size()));
  const Tokenizer tokenizer = Tokenizer::parse(file, "input");
  const std::string text = replace_invalid_utf8(rest.empty() ? file : rest);
  const Encoding encoding = tokenizer.encode_with_offsets(text);
  tokenizer.encode(text, /*add_special=*/false);
  tokenizer.decode(encoding.ids, /*skip_special=*/true);
  StreamDecoder stream(tokenizer, {});
  for (const std::int32_t id : encoding.ids) stream.push(id);
  stream.finish();
}

}  // namespace moebius::fuzz

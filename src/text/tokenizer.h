// From text to token ids and back, as the files in a model's directory prescribe: normaliser,
// pre-tokenizer, model, added tokens, post-processor, decoder. Ids and offsets are those of Hugging
// Face's tokenizers library, version 0.23, or of the SentencePiece library.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace moebius {

/// Characters (code points) [begin, end) of a text.
struct Range {
  std::size_t begin = 0, end = 0;
};

struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<Range> offsets;  ///< one per id; empty ranges at 0 for what the post-processor adds
};

/// Cheap to copy; any number of threads may use one at once.
class Tokenizer {
 public:
  /// Reads tokenizer.json or else a SentencePiece model (tokenizer.model) or else vocab.json with
  /// merges.txt, the latter two beside what tokenizer_config.json and its like say. Throws Error
  /// naming the file and the key if there is none, or one is malformed, larger than 256 MiB, or has
  /// a part that is not supported.
  static Tokenizer load(const fs::path& directory);
  /// The text of a tokenizer.json; `where` names it in errors.
  static Tokenizer parse(std::string_view json, const std::string& where);
  /// Whether there is one to load.
  static bool exists(const fs::path& directory);

  /// Throws Error if the text is not UTF-8. `add_special`: with what the post-processor puts
  /// around a text, such as a beginning-of-sequence token.
  std::vector<std::int32_t> encode(std::string_view utf8_text, bool add_special = true) const;

  /// The same ids, and which characters of the text each stands for.
  Encoding encode_with_offsets(std::string_view utf8_text, bool add_special = true) const;

  /// The bytes that the ids stand for; not UTF-8 if the ids cut a character. Throws Error naming
  /// an id outside the vocabulary.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  /// Highest id + 1, added tokens included; ids below may be unused.
  std::int32_t vocab_size() const;
  /// The same without added tokens: those that a model's vocabulary must have. Added tokens may
  /// have ids beyond it as long as no text holds them.
  std::int32_t base_vocab_size() const;
  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// Throws Error naming an id outside the vocabulary.
  const std::string& token_of(std::int32_t id) const;
  bool is_special(std::int32_t id) const;

  struct Impl;  ///< of the library's own use

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Text as its ids arrive, special tokens left out. What `push` and `finish` return, joined, is
/// what the ids add to the decoded prompt, with U+FFFD for bytes that are no UTF-8. The cost per
/// id doesn't grow with the text.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt_ids);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  /// Whole characters that `id` made printable.
  std::string push(std::int32_t id);
  /// The rest; nothing may be pushed afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebius

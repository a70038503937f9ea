// Tokenizers: text to token ids and back, by the files in a model's directory. Their parts are
// normaliser, pre-tokenizer, model, added tokens, post-processor and decoder. Ids and offsets are
// those of Hugging Face's tokenizers library, version 0.23, or of the SentencePiece library.
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

/// Range [begin, end) of characters (code points) of a text.
struct CharacterRange {
  std::size_t begin = 0, end = 0;
};

struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<CharacterRange>
      offsets;  ///< one per id; empty ranges at 0 for what the post-processor adds
};

/// Cheap to copy; any number of threads may use one at once.
class Tokenizer {
 public:
  /// Reads tokenizer.json, or else a SentencePiece model (tokenizer.model), or else vocab.json with
  /// merges.txt; and the companions tokenizer_config.json, special_tokens_map.json and
  /// added_tokens.json. Throws Error naming the file and the key if there is none, or one is
  /// malformed, larger than 256 MiB, or has a part that is not supported.
  static Tokenizer load(const fs::path& directory);
  /// Parses the text of a tokenizer.json; `where` names it in errors.
  static Tokenizer parse(std::string_view json, const std::string& where);
  /// Whether the directory has a tokenizer.
  static bool exists(const fs::path& directory);

  /// The ids of a text. `add_special`: with the special tokens that the post-processor puts around
  /// it, such as BOS. Throws Error if the text is not UTF-8.
  std::vector<std::int32_t> encode(std::string_view utf8_text, bool add_special = true) const;

  /// The same ids, and the range of characters of the text that each covers.
  Encoding encode_with_offsets(std::string_view utf8_text, bool add_special = true) const;

  /// The bytes that the ids decode to; not UTF-8 if the ids cut a character. `skip_special` leaves
  /// special tokens out. Throws Error naming an id outside the vocabulary.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  /// Highest id + 1, added tokens included; ids below may be unused.
  std::int32_t vocab_size() const;
  /// The same without added tokens: those that a model's vocabulary must have. Added tokens may
  /// have ids beyond it as long as no text holds them.
  std::int32_t base_vocab_size() const;
  /// Whether an id has a token.
  bool contains(std::int32_t id) const;
  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// Throws Error naming an id outside the vocabulary.
  const std::string& token_of(std::int32_t id) const;
  bool is_special(std::int32_t id) const;

  struct Impl;  ///< internal

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Decodes ids to text one by one, without special tokens. The concatenated results of `push` and
/// `finish` are the text that the ids add to the decoded prompt, with U+FFFD for bytes that are not
/// UTF-8. The cost per id does not depend on the length of the text.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt_ids);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  /// The characters that are complete with `id`.
  std::string push(std::int32_t id);
  /// The remaining text; `push` must not be called afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebius

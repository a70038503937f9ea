// From tokens back to text. Tokens go in one by one and bytes come out as soon as no later token
// can change them, so that decoding a whole text and streaming it are the same code.
//
// Between the stages travel pieces, which begin as the tokens. A piece may come in several
// fragments: what fuses pieces needn't wait for the last one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace moebius {

/// Takes fragments of pieces; the work on one text, so it has state.
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  /// `begins`: the first fragment of a piece; `ends`: its last one.
  virtual void push(std::string_view fragment, bool begins, bool ends) = 0;
  /// The text is over.
  virtual void finish() = 0;
};

/// A chain of stages that hand pieces to each other; the last one collects the text.
class DecoderRun {
 public:
  using MakeStage = std::function<std::unique_ptr<PieceSink>(PieceSink& next)>;
  explicit DecoderRun(const std::vector<MakeStage>& stages);

  void push(std::string_view token) { stages_.back()->push(token, true, true); }
  void finish() { stages_.back()->finish(); }
  /// The bytes that came out since the last call.
  std::string take() { return std::exchange(*text_, {}); }

 private:
  std::unique_ptr<std::string> text_;               // at an address that the last stage keeps
  std::vector<std::unique_ptr<PieceSink>> stages_;  // the last stage first
};

/// Immutable; any number of runs may use it at once. It must outlive them.
class Decoder {
 public:
  explicit Decoder(std::vector<DecoderRun::MakeStage> stages = {}) : stages_(std::move(stages)) {}
  /// Reads the decoder under `key` of `parent`; where there is none, tokens are joined by spaces.
  /// Throws Error naming a type that is not supported.
  Decoder(const JsonView& parent, std::string_view key);
  DecoderRun start() const { return DecoderRun(stages_); }

 private:
  void add(const JsonView& part);
  std::vector<DecoderRun::MakeStage> stages_;
};

}  // namespace moebius

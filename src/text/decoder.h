// Decoding of tokens to text. Tokens are pushed one by one, and bytes are available as soon as no
// later token can change them, so that decoding a whole text and streaming it are the same code.
//
// Stages pass pieces to each other; initially a piece is a token. A piece may be passed in several
// fragments, so that a stage that joins pieces need not wait for the last one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace moebius {

/// A stage at work on one text; receives fragments of pieces.
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  /// `begins`: the first fragment of a piece; `ends`: its last one.
  virtual void push(std::string_view fragment, bool begins, bool ends) = 0;
  /// Called once, at the end of the text.
  virtual void finish() = 0;
};

/// The decoding of one text: a chain of stages, of which the last one collects the text.
class DecoderRun {
 public:
  using MakeStage = std::function<std::unique_ptr<PieceSink>(PieceSink& next)>;
  explicit DecoderRun(const std::vector<MakeStage>& stages);

  void push(std::string_view token) { stages_.back()->push(token, true, true); }
  void finish() { stages_.back()->finish(); }
  /// The bytes that were decoded since the last call.
  std::string take() { return std::exchange(*text_, {}); }

 private:
  std::unique_ptr<std::string> text_;               // the last stage holds a reference to it
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

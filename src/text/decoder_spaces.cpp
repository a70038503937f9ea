// Decoder stages that restore spaces: each rewrites a piece depending on its place in the text.
#include <array>

#include "text/decoder_stages.h"

namespace moebius {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty() || text.find(from) == std::string::npos) return;
  std::string out;
  std::size_t done = 0;
  for (std::size_t at; (at = text.find(from, done)) != std::string::npos; done = at + from.size()) {
    out.append(text, done, at - done).append(to);
  }
  text = out.append(text, done);
}

/// Base of stages that collect the fragments of a piece and rewrite it as a whole.
class Rewriting : public PieceSink {
 public:
  explicit Rewriting(PieceSink& next) : next_(next) {}
  void push(std::string_view fragment, bool, bool ends) final {
    piece_ += fragment;
    if (!ends) return;
    rewrite(piece_);
    first_ = false;
    piece_.clear();
  }
  void finish() override { next_.finish(); }

 protected:
  /// Calls `emit` with the rewritten piece, at once or when the next piece is known.
  virtual void rewrite(std::string& piece) = 0;
  void emit(std::string_view piece) { next_.push(piece, true, true); }
  bool is_first() const { return first_; }

 private:
  PieceSink& next_;
  std::string piece_;
  bool first_ = true;
};

class MetaspaceStage final : public Rewriting {
 public:
  MetaspaceStage(std::string replacement, bool drops_first, PieceSink& next)
      : Rewriting(next), replacement_(std::move(replacement)), drops_first_(drops_first) {}

 private:
  void rewrite(std::string& piece) override {
    replace_all(piece, replacement_, is_first() && drops_first_ ? "" : " ");
    emit(piece);
  }
  std::string replacement_;
  bool drops_first_;
};

class SuffixStage final : public Rewriting {
 public:
  SuffixStage(std::string suffix, PieceSink& next) : Rewriting(next), suffix_(std::move(suffix)) {}
  void finish() override {
    if (!is_first()) {
      replace_all(held_, suffix_, "");
      emit(held_);
    }
    Rewriting::finish();
  }

 private:
  /// Holds a piece back until it is known not to be the last.
  void rewrite(std::string& piece) override {
    if (!is_first()) {
      replace_all(held_, suffix_, " ");
      emit(held_);
    }
    held_ = piece;
  }
  std::string suffix_, held_;
};

class PrefixStage final : public Rewriting {
 public:
  PrefixStage(std::string prefix, bool cleanup, PieceSink& next)
      : Rewriting(next), prefix_(std::move(prefix)), cleanup_(cleanup) {}

 private:
  void rewrite(std::string& piece) override {
    if (!is_first()) {
      if (piece.starts_with(prefix_)) {
        piece.erase(0, prefix_.size());
      } else {
        piece = ' ' + piece;
      }
    }
    if (cleanup_) clean(piece);
    emit(piece);
  }
  static void clean(std::string& text) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kRewritten = {{
        {" .", "."},
        {" ?", "?"},
        {" !", "!"},
        {" ,", ","},
        {" ' ", "'"},
        {" n't", "n't"},
        {" 'm", "'m"},
        {" do not", " don't"},
        {" 's", "'s"},
        {" 've", "'ve"},
        {" 're", "'re"},
    }};
    for (const auto& [from, to] : kRewritten) replace_all(text, from, to);
  }
  std::string prefix_;
  bool cleanup_;
};

class SentencePieceStage final : public Rewriting {
 public:
  SentencePieceStage(const PieceSpelling& spelling, PieceSink& next)
      : Rewriting(next), spelling_(spelling) {}

 private:
  void rewrite(std::string& piece) override {
    using Leading = PieceSpelling::Leading;
    if (piece == spelling_.unknown) {
      piece = spelling_.unknown_text;
    } else if (at_start_ && spelling_.leading != Leading::keep &&
               piece.starts_with(kVisibleSpace)) {
      piece.erase(0, kVisibleSpace.size());
      if (spelling_.leading == Leading::drop_one) at_start_ = false;
    }
    if (!piece.empty()) at_start_ = false;
    replace_all(piece, kVisibleSpace, " ");
    emit(piece);
  }
  PieceSpelling spelling_;
  bool at_start_ = true;
};

}  // namespace

std::unique_ptr<PieceSink> make_metaspace_stage(std::string replacement, bool drops_first,
                                                PieceSink& next) {
  return std::make_unique<MetaspaceStage>(std::move(replacement), drops_first, next);
}

std::unique_ptr<PieceSink> make_suffix_stage(std::string suffix, PieceSink& next) {
  return std::make_unique<SuffixStage>(std::move(suffix), next);
}

std::unique_ptr<PieceSink> make_prefix_stage(std::string prefix, bool cleanup, PieceSink& next) {
  return std::make_unique<PrefixStage>(std::move(prefix), cleanup, next);
}

std::unique_ptr<PieceSink> make_sentencepiece_stage(const PieceSpelling& spelling,
                                                    PieceSink& next) {
  return std::make_unique<SentencePieceStage>(spelling, next);
}

}  // namespace moebius

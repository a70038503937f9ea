#include "text/decoder.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "text/decoder_stages.h"
#include "text/metaspace.h"

namespace moebius {

namespace {

class Collect final : public PieceSink {
 public:
  explicit Collect(std::string& text) : text_(text) {}
  void push(std::string_view fragment, bool, bool) override { text_ += fragment; }
  void finish() override {}

 private:
  std::string& text_;
};

}  // namespace

DecoderRun::DecoderRun(const std::vector<MakeStage>& stages)
    : text_(std::make_unique<std::string>()) {
  stages_.push_back(std::make_unique<Collect>(*text_));
  for (auto make = stages.rbegin(); make != stages.rend(); ++make) {
    stages_.push_back((*make)(*stages_.back()));
  }
}

Decoder::Decoder(const JsonView& parent, std::string_view key) {
  if (parent.has(key)) {
    add(parent.object(key));
  } else {
    stages_.push_back([](PieceSink& next) { return make_fuse_stage(" ", next); });
  }
}

void Decoder::add(const JsonView& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") {
    for (const JsonView& element : part.objects("decoders")) add(element);
  } else if (type == "ByteLevel") {
    stages_.push_back(make_byte_level_stage);
  } else if (type == "ByteFallback") {
    stages_.push_back(make_byte_fallback_stage);
  } else if (type == "Fuse") {
    stages_.push_back([](PieceSink& next) { return make_fuse_stage("", next); });
  } else if (type == "Replace") {
    stages_.push_back([pattern = Pattern::load(part), content = part.string("content")](
                          PieceSink& next) { return make_replace_stage(pattern, content, next); });
  } else if (type == "Metaspace") {
    const Metaspace options(part);
    const bool drops_first = options.scheme != Metaspace::Scheme::never;
    stages_.push_back([text = options.replacement, drops_first](PieceSink& next) {
      return make_metaspace_stage(text, drops_first, next);
    });
  } else if (type == "BPEDecoder") {
    stages_.push_back([suffix = part.string_or("suffix", "</w>")](PieceSink& next) {
      return make_suffix_stage(suffix, next);
    });
  } else if (type == "WordPiece") {
    const bool cleanup = part.boolean_or("cleanup", true);
    stages_.push_back([prefix = part.string_or("prefix", "##"), cleanup](PieceSink& next) {
      return make_prefix_stage(prefix, cleanup, next);
    });
  } else if (type == "Strip") {
    const std::string content = part.string("content");
    std::size_t at = 0;
    if (content.empty() || (next_code_point(content, at), at != content.size())) {
      part.fail_key("content", "is not a single character");
    }
    const auto start = static_cast<std::size_t>(part.integer("start", 0, 1 << 20));
    const auto stop = static_cast<std::size_t>(part.integer("stop", 0, 1 << 20));
    stages_.push_back([content, start, stop](PieceSink& next) {
      return make_strip_stage(content, start, stop, next);
    });
  } else {
    fail("{}: a decoder of type \"{}\" is not supported", part.where(), type);
  }
}

}  // namespace moebius

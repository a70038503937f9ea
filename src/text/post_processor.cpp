#include "text/post_processor.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius {
namespace {

/// Moves only the offsets of tokens, which nothing here computes.
class ByteLevel final : public PostProcessor {
 public:
  void apply(std::vector<std::int32_t>&, bool) const override {}
  std::vector<std::int32_t> added_ids() const override { return {}; }
};

/// The form for single texts; the one for pairs is not read.
class Template final : public PostProcessor {
 public:
  explicit Template(const JsonView& part) {
    for (const JsonView& element : part.objects("single")) {
      if (element.has("Sequence")) {
        const std::string id = element.object("Sequence").string("id");
        if (id != "A") element.fail_key("Sequence", "names \"" + id + "\", a single text is \"A\"");
        pieces_.push_back({true, {}});
      } else if (element.has("SpecialToken")) {
        pieces_.push_back({false, ids_of(part, element.object("SpecialToken").string("id"))});
      } else {
        fail("{}: neither \"Sequence\" nor \"SpecialToken\"", element.where());
      }
    }
  }

  void apply(std::vector<std::int32_t>& ids, bool add_special) const override {
    std::vector<std::int32_t> out;
    out.reserve(ids.size() + pieces_.size());
    for (const Piece& piece : pieces_) {
      if (piece.is_text) {
        out.insert(out.end(), ids.begin(), ids.end());
      } else if (add_special) {
        out.insert(out.end(), piece.ids.begin(), piece.ids.end());
      }
    }
    ids = std::move(out);
  }

  std::vector<std::int32_t> added_ids() const override {
    std::vector<std::int32_t> out;
    for (const Piece& piece : pieces_) out.insert(out.end(), piece.ids.begin(), piece.ids.end());
    return out;
  }

 private:
  struct Piece {
    bool is_text;
    std::vector<std::int32_t> ids;
  };

  static std::vector<std::int32_t> ids_of(const JsonView& part, const std::string& name) {
    const JsonView token = part.object("special_tokens").object(name);
    std::vector<std::int32_t> out;
    for (const std::int64_t id : token.integers("ids")) {
      if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
        token.fail_key("ids", fmt::format("holds {}, which is no token id", id));
      }
      out.push_back(static_cast<std::int32_t>(id));
    }
    return out;
  }

  std::vector<Piece> pieces_;
};

std::unique_ptr<const PostProcessor> make(const JsonView& part);

class Sequence final : public PostProcessor {
 public:
  explicit Sequence(const JsonView& part) {
    for (const JsonView& element : part.objects("processors")) parts_.push_back(make(element));
  }
  void apply(std::vector<std::int32_t>& ids, bool add_special) const override {
    for (const auto& part : parts_) part->apply(ids, add_special);
  }
  std::vector<std::int32_t> added_ids() const override {
    std::vector<std::int32_t> out;
    for (const auto& part : parts_) {
      const std::vector<std::int32_t> more = part->added_ids();
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  }

 private:
  std::vector<std::unique_ptr<const PostProcessor>> parts_;
};

std::unique_ptr<const PostProcessor> make(const JsonView& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") return std::make_unique<Sequence>(part);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "TemplateProcessing") return std::make_unique<Template>(part);
  fail("{}: a post-processor of type \"{}\" is not supported", part.where(), type);
}

}  // namespace

std::unique_ptr<const PostProcessor> PostProcessor::load(const JsonView& parent,
                                                         std::string_view key) {
  return parent.has(key) ? make(parent.object(key)) : nullptr;
}

}  // namespace moebius

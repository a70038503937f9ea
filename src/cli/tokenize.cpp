#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/lines.h"
#include "base/staged.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "data/documents.h"
#include "hub/resolve.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

namespace moebius::cli {
namespace {

struct TokenizeOptions {
  fs::path model;
  bool lines = false, no_special = false, decode = false, offsets = false;

  void declare(OptionSet& options) {
    options.positional("MODEL", model,
                       "directory with tokenizer.json, tokenizer.model, or vocab.json and "
                       "merges.txt; GGUF file; or org/name on the hub");
    options.add("lines", lines, "each line of the input is a text of its own");
    options.add("no-special", no_special, "add no BOS or EOS");
    options.add("offsets", offsets,
                "write id:begin-end: the characters (code points) that each token stands for");
    options.add("decode", decode, "read ids, write text");
  }
  void check() const {
    if (decode && offsets) throw UsageError("--offsets: not with --decode");
  }
};

struct TokenizerTrainOptions {
  std::vector<std::string> data, special{"<|endoftext|>"};
  std::string key = "text";
  std::int64_t vocab_size = 32000;
  fs::path out;

  void declare(OptionSet& options) {
    Option& files = options.add("data", data, "text files, or .jsonl with one document a line");
    files.many = files.required = true;
    options.add("key", key, "key of the text in .jsonl rows");
    options.add("vocab-size", vocab_size, "ids, special tokens and the 256 bytes included")
        .between(1, 1 << 24);
    options.add("special", special, "special token; may be given several times");
    options.add("out", out, "directory to write").required = true;
  }
};

std::string read_stdin() {
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, stdin)) {
    text.append(buffer, got);
  }
  if (std::ferror(stdin)) fail("cannot read standard input");
  return text;
}

/// Ids, or with offsets `id:begin-end`, between spaces.
std::string line_of(const Encoding& encoding) {
  if (encoding.offsets.empty()) return fmt::format("{}\n", fmt::join(encoding.ids, " "));
  std::string out;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const CharacterRange& range = encoding.offsets[i];
    fmt::format_to(std::back_inserter(out), "{}{}:{}-{}", i == 0 ? "" : " ", encoding.ids[i],
                   range.begin, range.end);
  }
  return out += '\n';
}

Json offsets_json(const Encoding& encoding) {
  Json out = Json::array();
  for (const CharacterRange& range : encoding.offsets) out.push_back({range.begin, range.end});
  return out;
}

/// `lines`: a list for each text instead of the one text's list.
Json to_json(const std::vector<Encoding>& texts, bool lines, bool offsets) {
  Json ids = Json::array(), ranges = Json::array();
  for (const Encoding& encoding : texts) {
    ids.push_back(encoding.ids);
    ranges.push_back(offsets_json(encoding));
  }
  Json out{{"ids", lines ? ids : ids[0]}};
  if (offsets) out["offsets"] = lines ? ranges : ranges[0];
  return out;
}

std::vector<std::int32_t> parse_ids(std::string_view text) {
  text = without_byte_order_mark(text);
  std::vector<std::int32_t> ids;
  constexpr std::string_view blank = " \t\r\n";
  for (std::size_t at = text.find_first_not_of(blank); at != std::string_view::npos;
       at = text.find_first_not_of(blank, at)) {
    const std::size_t end = std::min(text.find_first_of(blank, at), text.size());
    std::int32_t id = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end) {
      fail("standard input: \"{}\" is not an id", text.substr(at, end - at));
    }
    ids.push_back(id);
    at = end;
  }
  return ids;
}

}  // namespace

void run_tokenize(const Command& self, const Arguments& arguments) {
  const Invocation<TokenizeOptions> call(self, arguments);
  const auto& [model, lines, no_special, decode, offsets] = call.job;
  const Tokenizer tokenizer =
      Tokenizer::load(resolve_model(model, ModelParts::tokenizer, call.ctx));
  const std::string input = read_stdin();
  if (decode) return print(tokenizer.decode(parse_ids(input), /*skip_special=*/false));
  check_utf8(input, "standard input");
  std::vector<Encoding> texts;
  const auto add = [&](std::string_view text) {
    call.ctx.check_interrupt();
    texts.push_back(offsets ? tokenizer.encode_with_offsets(text, !no_special)
                            : Encoding{tokenizer.encode(text, !no_special), {}});
  };
  if (!lines) add(input);
  for (std::size_t at = 0; lines && at < input.size();) {
    const std::size_t end = std::min(input.find('\n', at), input.size());
    add(std::string_view(input).substr(at, end - at));
    at = end + 1;
  }
  if (call.common.json) return print_json(to_json(texts, lines, offsets));
  std::string out;
  for (const Encoding& encoding : texts) out += line_of(encoding);
  print(out);
}

void run_tokenizer_train(const Command& self, const Arguments& arguments) {
  const Invocation<TokenizerTrainOptions> call(self, arguments);
  const auto& [data, special, key, vocab_size, out] = call.job;
  std::vector<std::string> documents;
  for (const std::string& file : data) {
    for (std::string& document : read_documents(file, key))
      documents.push_back(std::move(document));
  }
  StagedDirectory staged(out, call.common.overwrite);
  const std::string json = train_byte_level_bpe(documents, static_cast<int>(vocab_size), special,
                                                [&](int, int) { call.ctx.check_interrupt(); });
  OutputFile(staged.path() / "tokenizer.json").append(json);
  Json config{{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"clean_up_tokenization_spaces", false}};
  if (!special.empty()) config["bos_token"] = config["eos_token"] = special[0];
  OutputFile(staged.path() / "tokenizer_config.json").append(config.dump(2) + "\n");
  staged.commit();
  const int size = Tokenizer::load(out).vocab_size();
  if (call.common.json) return print_json({{"out", out.string()}, {"vocab_size", size}});
  print(fmt::format("{} ids, saved {}\n", size, out.string()));
}

}  // namespace moebius::cli

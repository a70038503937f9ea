#include "data/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "base/lines.h"
#include "base/utf8.h"

namespace moebius {
namespace {

using nlohmann::json;

constexpr std::size_t kKeysShown = 8;
constexpr std::size_t kKeyBytesShown = 40;

/// The keys of an object for an error message: quoted, escaped and shortened.
std::string list_keys(const json& object) {
  if (object.empty()) return "the object is empty";
  std::string list;
  std::size_t shown = 0;
  for (const auto& [key, value] : object.items()) {
    if (shown++ == kKeysShown) {
      list += fmt::format(" and {} more", object.size() - kKeysShown);
      break;
    }
    const std::string_view head = std::string_view(key).substr(0, kKeyBytesShown);
    const bool whole = head.size() == key.size();
    list += shown > 1 ? ", " : "its keys are ";
    list += json(head.substr(0, complete_utf8_prefix(head))).dump() + (whole ? "" : "...");
  }
  return list;
}

std::string take_text(json& record, const std::string& key, const std::string& where) {
  if (!record.is_object()) fail("{}: expected a JSON object, found {}", where, record.type_name());
  const auto found = record.find(key);
  if (found == record.end()) {
    fail("{}: no key {}; {}", where, json(key).dump(), list_keys(record));
  }
  if (!found->is_string()) {
    fail("{}: the value of {} is not a string but {}", where, json(key).dump(), found->type_name());
  }
  return std::move(found->get_ref<std::string&>());
}

/// Parses `text`, which starts on line `first_line` of the file.
json parse(std::string_view text, const fs::path& file, std::size_t first_line) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    // The parser counts from 1 and may be one past the end.
    const std::size_t at = std::min<std::size_t>(error.byte > 0 ? error.byte - 1 : 0, text.size());
    const std::string_view before = text.substr(0, at);
    const auto line = first_line + static_cast<std::size_t>(std::ranges::count(before, '\n'));
    const std::size_t column = at - (before.rfind('\n') + 1) + 1;
    fail("{}: line {}: malformed JSON at byte {} of the line", file.string(), line, column);
  }
}

std::vector<std::string> read_lines(std::string_view content, const fs::path& file,
                                    const std::string& key) {
  std::vector<std::string> documents;
  LineReader lines(content);
  while (const auto line = lines.next()) {
    if (line->find_first_not_of(" \t\r") == std::string_view::npos) continue;
    json record = parse(*line, file, lines.number());
    documents.push_back(
        take_text(record, key, fmt::format("{}: line {}", file.string(), lines.number())));
  }
  return documents;
}

std::vector<std::string> read_array(std::string_view content, const fs::path& file,
                                    const std::string& key) {
  if (content.find_first_not_of(" \t\r\n") == std::string_view::npos) return {};
  json records = parse(content, file, 1);
  if (!records.is_array()) {
    fail("{}: expected a JSON array of objects, found {}", file.string(), records.type_name());
  }
  std::vector<std::string> documents;
  documents.reserve(records.size());
  for (json& record : records) {
    documents.push_back(
        take_text(record, key, fmt::format("{}: record {}", file.string(), documents.size() + 1)));
  }
  return documents;
}

}  // namespace

std::vector<std::string> read_documents(const fs::path& file, const std::string& key) {
  std::string content = read_file(file);
  check_utf8(content, file.string());
  std::vector<std::string> documents;
  if (file.extension() == ".jsonl") {
    documents = read_lines(content, file, key);
  } else if (file.extension() == ".json") {
    documents = read_array(content, file, key);
  } else {
    documents.push_back(std::move(content));
  }
  if (std::ranges::all_of(documents, &std::string::empty)) {
    fail("{}: no text in it", file.string());
  }
  return documents;
}

}  // namespace moebius

#include "hub/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"

namespace moebius::hub {
namespace {

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool only(std::string_view text, std::string_view more) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return is_letter_or_digit(c) || more.find(c) != std::string_view::npos;
  });
}

bool is_part(std::string_view text) {
  return !text.empty() && text.size() <= 96 && only(text, "-_.") && text.front() != '.' &&
         text.front() != '-' && text.back() != '.' && text.back() != '-' &&
         text.find("--") == std::string_view::npos && text.find("..") == std::string_view::npos;
}

/// Whether `text` is a git reference that is safe as part of a path.
bool is_revision(std::string_view text) {
  return !text.empty() && text.size() <= 200 && only(text, "-_./+") && text.front() != '/' &&
         text.back() != '/' && text.front() != '.' && text.find("..") == std::string_view::npos &&
         text.find("//") == std::string_view::npos && text.find("/.") == std::string_view::npos;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_true(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

fs::path with_home(const std::string& path) {
  if (!path.starts_with("~/")) return path;
  return fs::path(variable("HOME")) / path.substr(2);
}

fs::path home_folder() {
  if (const std::string home = variable("HF_HOME"); !home.empty()) return with_home(home);
  const std::string caches = variable("XDG_CACHE_HOME");
  return (caches.empty() ? with_home("~/.cache") : with_home(caches)) / "huggingface";
}

std::string read_token(const fs::path& home) {
  std::string token = variable("HF_TOKEN");
  std::string where = "HF_TOKEN";
  if (token.empty()) {
    const std::string named = variable("HF_TOKEN_PATH");
    const fs::path file = named.empty() ? home / "token" : with_home(named);
    where = file.string();
    std::error_code unknown;
    if (fs::is_regular_file(file, unknown)) token = read_file(file, 1 << 16);
  }
  token = trimmed(token);
  const bool clean =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 127; });
  if (!clean) throw Error(where + ": is not a token", "it is one word such as hf_...");
  return token;
}

std::string read_endpoint() {
  std::string endpoint = variable("HF_ENDPOINT");
  if (endpoint.empty()) return "https://huggingface.co";
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (!endpoint.starts_with("https://") && !endpoint.starts_with("http://")) {
    throw Error(fmt::format("HF_ENDPOINT {}: is not an address", endpoint),
                "it begins with https:// or http://");
  }
  return endpoint;
}

long read_timeout() {
  const std::string text = variable("HF_HUB_DOWNLOAD_TIMEOUT");
  if (text.empty()) return Settings{}.timeout;
  long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 86400) {
    fail("HF_HUB_DOWNLOAD_TIMEOUT {}: is not a number of seconds", text);
  }
  return value;
}

}  // namespace

std::optional<Name> parse_name(std::string_view text) {
  Name found;
  if (const auto at = text.find('@'); at != std::string_view::npos) {
    found.revision = text.substr(at + 1);
    text = text.substr(0, at);
  }
  const auto slash = std::min(text.find('/'), text.size());
  found.org = text.substr(0, slash);
  found.name = slash < text.size() ? text.substr(slash + 1) : "";
  if (!is_part(found.org) || !is_part(found.name) || !is_revision(found.revision)) return {};
  return found;
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && is_hex(text);
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const auto begin = std::min(text.find_first_not_of(blank), text.size());
  return text.substr(begin, text.find_last_not_of(blank) + 1 - begin);
}

Settings Settings::from_environment() {
  Settings settings;
  const fs::path home = home_folder();
  const std::string cache = variable("HF_HUB_CACHE");
  settings.cache = cache.empty() ? home / "hub" : with_home(cache);
  settings.endpoint = read_endpoint();
  settings.token = read_token(home);
  settings.offline = is_true(variable("HF_HUB_OFFLINE"));
  settings.timeout = read_timeout();
  return settings;
}

}  // namespace moebius::hub

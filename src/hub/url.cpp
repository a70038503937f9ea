#include "hub/url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <new>

#include "base/error.h"

namespace moebius::hub {

Origin origin_of(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    fail("{}: is not an address", url);
  }
  const auto part = [&](CURLUPart which) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), which, &text, CURLU_DEFAULT_PORT) != CURLUE_OK)
      return std::string();
    const std::unique_ptr<char, decltype(&curl_free)> owned(text, curl_free);
    return std::string(text);
  };
  Origin origin{part(CURLUPART_SCHEME), part(CURLUPART_HOST), part(CURLUPART_PORT)};
  if (origin.scheme != "http" && origin.scheme != "https")
    fail("{}: is not an http or https address", url);
  return origin;
}

std::string escape_component(std::string_view text) {
  const std::unique_ptr<char, decltype(&curl_free)> owned(
      curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size())), curl_free);
  if (owned == nullptr) throw std::bad_alloc();
  return owned.get();
}

std::string escape_path(std::string_view path) {
  std::string out;
  for (std::size_t at = 0;;) {
    const auto end = std::min(path.find('/', at), path.size());
    out += escape_component(path.substr(at, end - at));
    if (end == path.size()) return out;
    out += '/';
    at = end + 1;
  }
}

}  // namespace moebius::hub

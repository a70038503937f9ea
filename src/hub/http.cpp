#include "hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "hub/url.h"

namespace moebius::hub {
namespace {

constexpr int max_attempts = 5, max_redirects = 10;
constexpr long max_pause = 60;  // seconds
constexpr std::size_t max_headers = 1 << 20, max_error_body = 1 << 16;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool is_tls(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
         code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM;
}

/// The address without its query, which may hold a signature that gives access.
std::string without_query(const std::string& url) {
  return url.substr(0, url.find('?'));
}

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

std::string Response::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

bool Retries::wait(long seconds) {
  if (++used_ >= max_attempts) return false;
  using std::chrono::milliseconds;
  const milliseconds pause(std::max(500L << (used_ - 1), std::min(seconds, max_pause) * 1000));
  const auto end = std::chrono::steady_clock::now() + pause;
  while (std::chrono::steady_clock::now() < end) {
    ctx_.check_interrupt();
    std::this_thread::sleep_for(milliseconds(50));
  }
  return true;
}

struct Client::Handle {
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl{curl_easy_init(), curl_easy_cleanup};
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers{nullptr, curl_slist_free_all};

  void add_header(const std::string& line) {
    curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    static_cast<void>(headers.release());  // the longer list owns it now
    headers.reset(longer);
  }
};

/// One request and its response. libcurl is C code, so exceptions of callbacks are stored and
/// rethrown.
struct Client::Transfer {
  const Context& ctx;
  std::string url;
  bool head = false;
  std::uint64_t from = 0;
  std::size_t limit = 0;       ///< of a body that is kept
  long total_timeout = 0;      ///< seconds; 0: none
  const Sink* sink = nullptr;  ///< null: the body is kept
  Response response = {};
  std::size_t header_bytes = 0;
  bool begun = false;
  std::exception_ptr thrown = {};

  void add_header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > max_headers) fail("{}: sends more headers than allowed", url);
    if (line.starts_with("HTTP/")) response.headers.clear();
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    response.headers[lower(line.substr(0, colon))] = trimmed(line.substr(colon + 1));
  }

  /// False to stop the transfer, once enough of the body is known.
  bool add_body(CURL* curl, std::string_view bytes) {
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &response.status);
    const bool good = response.status == 200 || response.status == 206;
    if (good && sink != nullptr) {
      if (!std::exchange(begun, true)) sink->begin(response);
      sink->write(bytes);
      return true;
    }
    const std::size_t most = good ? limit : max_error_body;
    if (response.body.size() + bytes.size() > most) {
      if (good) fail("{}: sends more than {} bytes", url, limit);
      return false;
    }
    response.body += bytes;
    return true;
  }

  template <class Action>
  bool keep_what_is_thrown(Action&& action) {
    try {
      return action();
    } catch (...) {
      thrown = std::current_exception();
      return false;
    }
  }

  struct Callback {
    Transfer& transfer;
    CURL* curl;
  };
  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) {
    Transfer& self = static_cast<Callback*>(user)->transfer;
    const bool good = self.keep_what_is_thrown([&] {
      self.add_header({data, size});
      return true;
    });
    return good ? size : 0;
  }
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
    const Callback& callback = *static_cast<Callback*>(user);
    Transfer& self = callback.transfer;
    const bool good = self.keep_what_is_thrown([&] {
      return self.add_body(callback.curl, {data, size});
    });
    return good ? size : 0;
  }
  static int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Callback*>(user)->transfer.ctx.interrupted() != 0 ? 1 : 0;
  }
};

Client::Client(const Settings& settings, const Context& ctx) : settings_(settings), ctx_(ctx) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  handle_ = std::make_unique<Handle>();
  if (ready != CURLE_OK || handle_->curl == nullptr) fail("libcurl cannot be set up");
}

Client::~Client() = default;

void Client::set_options(const Transfer& transfer, const std::string& url) {
  CURL* curl = handle_->curl.get();
  curl_easy_reset(curl);  // keeps connections open
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "moebius");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOBODY, transfer.head ? 1L : 0L);
  if (transfer.from > 0) {
    curl_easy_setopt(curl, CURLOPT_RANGE, fmt::format("{}-", transfer.from).c_str());
  }
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, settings_.timeout);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, settings_.timeout);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, transfer.total_timeout);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  handle_->headers.reset();
  handle_->add_header("Accept-Encoding: identity");
  if (!settings_.token.empty() && origin_of(url) == origin_of(settings_.endpoint)) {
    handle_->add_header("Authorization: Bearer " + settings_.token);
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, handle_->headers.get());
}

Response Client::perform(Transfer& transfer, const std::string& url) {
  CURL* curl = handle_->curl.get();
  transfer.response = {};
  transfer.begun = false;
  set_options(transfer, url);
  Transfer::Callback callback{transfer, curl};
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, Transfer::on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &callback);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Transfer::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &callback);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, Transfer::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &callback);
  const CURLcode code = curl_easy_perform(curl);
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  ctx_.check_interrupt();
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  // A write error without an exception: the body of an error response was cut at the limit.
  if (code != CURLE_OK && code != CURLE_WRITE_ERROR) {
    const std::string what = fmt::format("{}: {}", without_query(url), curl_easy_strerror(code));
    if (is_tls(code)) {
      throw Error(what, "check the host's certificate and those of this machine");
    }
    throw Unreachable(what, "check the network, HF_ENDPOINT and proxies");
  }
  return std::move(transfer.response);
}

Response Client::attempt(Transfer& transfer) {
  std::string url = transfer.url;
  for (int hop = 0; hop <= max_redirects; ++hop) {
    Response response = perform(transfer, url);
    char* next = nullptr;
    curl_easy_getinfo(handle_->curl.get(), CURLINFO_REDIRECT_URL, &next);
    if (!is_redirect(response.status) || next == nullptr) return response;
    const std::string target = next;
    const Origin here = origin_of(url), there = origin_of(target);
    if (transfer.head && here != there) return response;
    if (here.scheme == "https" && there.scheme != "https") {
      fail("{}: redirects to {}, which is not encrypted", without_query(url),
           without_query(target));
    }
    url = target;
  }
  fail("{}: redirects in a loop", transfer.url);
}

Response Client::with_retries(const std::function<Response()>& request) {
  Retries retries(ctx_);
  for (;;) {
    long pause = 0;
    try {
      Response response = request();
      if (!response.is_transient()) return response;
      const std::string text = response.header("retry-after");
      std::from_chars(text.data(), text.data() + text.size(), pause);
      if (!retries.wait(pause)) return response;
    } catch (const Unreachable&) {
      if (!retries.wait()) throw;
    }
  }
}

Response Client::head(const std::string& url) {
  return with_retries([&] {
    Transfer transfer{ctx_, url};
    transfer.head = true;
    transfer.total_timeout = 6 * settings_.timeout;
    return attempt(transfer);
  });
}

Response Client::get(const std::string& url, std::size_t limit) {
  return with_retries([&] {
    Transfer transfer{ctx_, url};
    transfer.limit = limit;
    transfer.total_timeout = 6 * settings_.timeout;
    return attempt(transfer);
  });
}

Response Client::get(const std::string& url, std::uint64_t from, const Sink& sink) {
  Transfer transfer{ctx_, url};
  transfer.from = from;
  transfer.sink = &sink;
  return attempt(transfer);
}

}  // namespace moebius::hub

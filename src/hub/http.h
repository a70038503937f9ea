// HTTP requests to a hub with libcurl. The token is sent to the endpoint and to no other host.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/error.h"
#include "hub/settings.h"

namespace moebius::hub {

/// The connection failed or a body ended early; a retry may succeed.
class Unreachable : public Error {
 public:
  using Error::Error;
};

struct Response {
  long status = 0;
  std::map<std::string, std::string, std::less<>> headers;  ///< names in lower case
  std::string body;

  /// Empty if absent.
  std::string header(std::string_view name) const;
  /// Whether a retry may succeed: 429 and 5xx.
  bool is_transient() const { return status == 429 || (status >= 500 && status <= 599); }
};

/// Receives the body of a 200 or 206 response in chunks.
struct Sink {
  std::function<void(const Response&)> begin;  ///< before the first byte
  std::function<void(std::string_view)> write;
};

/// Counter of retries with exponential back-off.
class Retries {
 public:
  explicit Retries(const Context& ctx) : ctx_(ctx) {}
  /// Waits, at least the `seconds` that the server asked for; false if the attempts are used up.
  bool wait(long seconds = 0);
  /// Resets the count after progress.
  void reset() { used_ = 0; }

 private:
  const Context& ctx_;
  int used_ = 0;
};

class Client {
 public:
  Client(const Settings& settings, const Context& ctx);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Retry transient failures. Throw Unreachable, Interrupted, and Error for TLS failures, redirect
  /// loops and a body of more than `limit` bytes. `head` follows redirects to the same host only: a
  /// response that redirects to another host describes the file.
  Response head(const std::string& url);
  Response get(const std::string& url, std::size_t limit);
  /// One attempt, without retries; passes the body from byte `from` on to `sink`, if the server
  /// supports ranges.
  Response get(const std::string& url, std::uint64_t from, const Sink& sink);

 private:
  struct Transfer;
  void set_options(const Transfer& transfer, const std::string& url);
  Response attempt(Transfer& transfer);
  Response perform(Transfer& transfer, const std::string& url);
  Response with_retries(const std::function<Response()>& request);

  struct Handle;
  std::unique_ptr<Handle> handle_;
  const Settings& settings_;
  const Context& ctx_;
};

}  // namespace moebius::hub

// `moebius generate --chat` without a prompt: a conversation over standard input and output.
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/lines.h"
#include "cli/command.h"
#include "cli/jobs/generate.h"
#include "infer/chat/conversation.h"

namespace moebius::cli {
namespace {

constexpr std::size_t kMaxLine = std::size_t{16} << 20;

/// Reads standard input line by line. A signal ends the wait for the next line.
class InputLines {
 public:
  explicit InputLines(const Context& ctx) : ctx_(ctx) {}

  /// The next line without its LF or CRLF; nothing at the end of the input. A byte order mark at
  /// the start of the input is skipped.
  std::optional<std::string> next() {
    std::optional<std::string> line = next_raw();
    if (!line) return line;
    std::string_view text = without_carriage_return(*line);
    if (std::exchange(first_, false)) text = without_byte_order_mark(text);
    return std::string(text);
  }

 private:
  /// The next line without its '\n'.
  std::optional<std::string> next_raw() {
    for (;;) {
      if (const auto newline = buffer_.find('\n', searched_); newline != buffer_.npos) {
        std::string line = buffer_.substr(0, newline);
        buffer_.erase(0, newline + 1);
        searched_ = 0;
        return line;
      }
      searched_ = buffer_.size();
      if (searched_ > kMaxLine) fail("standard input: a line of more than 16 MiB");
      if (!read_more()) break;
    }
    if (buffer_.empty()) return std::nullopt;
    return std::exchange(buffer_, {});
  }

  /// Waits for input and appends it to the buffer; false at the end of the input.
  bool read_more() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    // The timeout covers a signal that arrives between the check and poll().
    while (::poll(&input, 1, /*milliseconds=*/100) <= 0) ctx_.check_interrupt();
    char buffer[1 << 16];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    ctx_.check_interrupt();
    if (got < 0) fail("cannot read standard input");
    buffer_.append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  const Context& ctx_;
  std::string buffer_;
  std::size_t searched_ = 0;  // bytes at the start of buffer_ that are known to hold no '\n'
  bool first_ = true;
};

/// Reads messages and commands, prints answers, until /exit or the end of the input.
class ChatSession {
 public:
  ChatSession(const GenerateOptions& job, const Context& ctx, bool json)
      : ctx_(ctx), json_(json), terminal_(::isatty(STDIN_FILENO) == 1), conversation_(job, ctx) {}

  void run() {
    InputLines lines(ctx_);
    Json results = Json::array();
    for (;;) {
      if (terminal_) std::fputs("> ", stderr);
      const std::optional<std::string> line = lines.next();
      if (!line || *line == "/exit") break;
      if (*line == "/reset") {
        conversation_.reset();
      } else if (!line->empty()) {
        answer(*line, results);
      }
    }
    if (json_) print_json({{"results", results}});
  }

 private:
  /// Prints the answer to one message. On a terminal neither Ctrl-C nor an error ends the session.
  void answer(const std::string& line, Json& results) {
    try {
      const Generation said = conversation_.say(line, [this](std::string_view piece) {
        if (!json_) print(piece);
      });
      results.push_back(to_json(said));
    } catch (const Interrupted& stop) {
      if (!terminal_ || stop.signal() != SIGINT) throw;
      forget_stop_signal();
    } catch (const Error& error) {
      if (!terminal_) throw;
      ctx_.log.warn("{} ({})", error.what(), error.hint());
      return;
    }
    if (!json_) print("\n");
  }

  const Context& ctx_;
  bool json_, terminal_;
  Conversation conversation_;
};

}  // namespace

void converse(const GenerateOptions& job, const Context& ctx, bool json) {
  ChatSession(job, ctx, json).run();
}

}  // namespace moebius::cli

// `moebius generate --chat` without a prompt: lines in, answers out.
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/command.h"
#include "cli/generate.h"
#include "infer/conversation.h"

namespace moebius::cli {
namespace {

constexpr std::size_t kMaxLine = std::size_t{16} << 20;

/// Lines of standard input. A signal ends the wait for the next one.
class InputLines {
 public:
  explicit InputLines(const Context& ctx) : ctx_(ctx) {}

  /// Without its newline; nothing at the end of the input.
  std::optional<std::string> next() {
    for (;;) {
      if (const auto newline = pending_.find('\n', seen_); newline != pending_.npos) {
        std::string line = pending_.substr(0, newline);
        pending_.erase(0, newline + 1);
        seen_ = 0;
        return line;
      }
      seen_ = pending_.size();
      if (seen_ > kMaxLine) fail("standard input: a line of more than 16 MiB");
      if (!fill()) break;
    }
    if (pending_.empty()) return std::nullopt;
    return std::exchange(pending_, {});
  }

 private:
  /// Waits for input; false at its end.
  bool fill() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    // Wakes up now and then, for a signal may come just before the wait.
    while (::poll(&input, 1, /*milliseconds=*/100) <= 0) ctx_.check_interrupt();
    char buffer[1 << 16];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    ctx_.check_interrupt();
    if (got < 0) fail("cannot read standard input");
    pending_.append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  const Context& ctx_;
  std::string pending_;
  std::size_t seen_ = 0;  // of it, what holds no newline
};

class Dialogue {
 public:
  Dialogue(const GenerateOptions& job, const Context& ctx, bool json)
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
  /// On a terminal neither Ctrl-C nor an error in a turn ends the conversation.
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
  Dialogue(job, ctx, json).run();
}

}  // namespace moebius::cli

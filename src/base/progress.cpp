#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace moebius {
namespace {

std::string time_text(double seconds) {
  const auto whole = static_cast<long>(std::min(seconds, 1e7));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h", whole / 3600, whole % 3600 / 60);
}

}  // namespace

Progress::Progress(const Context& ctx, std::string title, double total, std::string unit)
    : log_(ctx.log),
      terminal_(ctx.log.writes_to_stderr() && ::isatty(STDERR_FILENO) == 1),
      title_(std::move(title)),
      unit_(std::move(unit)),
      total_(std::max(total, 1e-9)),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (open_line_) std::fputc('\n', stderr);
}

void Progress::update(double done, std::string_view note) {
  if (!log_.shows(LogLevel::info)) return;
  const auto now = Clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (now - last_ < pause && (!terminal_ || done < total_)) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double share = std::clamp(done / total_, 0.0, 1.0);
  const double rate = done / std::max(seconds, 1e-9);
  const std::string figures = fmt::format(
      "{:.0f}/{:.0f} {} · {:.3g} {}/s · {} left{}{}", done, total_, unit_, rate, unit_,
      time_text(share > 0 ? seconds / share * (1 - share) : 0), note.empty() ? "" : " · ", note);
  if (terminal_) return draw_bar(share, figures);
  log_.info("{}: {}", title_, figures);
}

/// Redraws the line that the cursor is on; control sequences would not pass through the log.
void Progress::draw_bar(double share, std::string_view figures) {
  constexpr int width = 24;
  const auto full = static_cast<std::size_t>(share * width);
  const std::string line = fmt::format("\r\033[K{} [{}{}] {}", title_, std::string(full, '='),
                                       std::string(width - full, ' '), figures);
  std::fwrite(line.data(), 1, line.size(), stderr);
  open_line_ = true;
}

}  // namespace moebius

#include "base/context.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "base/compute.h"
#include "base/error.h"
#include "base/mapping_guard.h"

namespace moebius {

void Log::line(LogLevel level, std::string_view text) const {
  const std::string safe = printable(text);
  if (sink_ != nullptr) return sink_(level, safe);
  const std::string whole = fmt::format("{}{}\n", level == LogLevel::warn ? "warning: " : "", safe);
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

void check_device_name(std::string_view name) {
  if (name == "cpu" || name == "cuda") return;
  constexpr std::string_view numbered = "cuda:";
  const std::string_view number = name.substr(std::min(numbered.size(), name.size()));
  if (name.starts_with(numbered) && !number.empty() && number.size() < 4 &&
      number.find_first_not_of("0123456789") == number.npos) {
    return;
  }
  throw UsageError(fmt::format("--device {}: not cpu, cuda or cuda:N", name));
}

Context::Context() : compute(std::make_shared<ComputeResources>()) {}

void Context::check_interrupt() const {
  if (const int signal = interrupted()) throw Interrupted(signal);
  check_mapped_files();
}

}  // namespace moebius

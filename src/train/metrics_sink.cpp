#include "train/metrics_sink.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/staged.h"

namespace moebius {
namespace {

/// The file without the rows of steps after `step`.
fs::path cut_after(const fs::path& file, std::int64_t step) {
  std::string kept;
  if (step > 0 && fs::exists(file)) {
    const std::string content = read_file(file);
    for (std::size_t at = 0; at < content.size();) {
      const std::size_t end = content.find('\n', at);
      if (end == std::string::npos) break;
      const Json row = Json::parse(content.substr(at, end - at), nullptr, false);
      if (row.is_object() && row.value("step", step + 1) <= step) {
        kept += content.substr(at, end + 1 - at);
      }
      at = end + 1;
    }
  }
  write_file_atomically(file, kept);
  return file;
}

}  // namespace

void MetricsSink::add(const StepRecord& step) {
  pending_.merge(step.metrics);
  pending_tokens_ += step.step_tokens;
  pending_seconds_ += step.step_seconds;
  if (step.step % every_ != 0) return;
  Json row{{"step", step.step}, {"tokens", step.tokens}};
  pending_.write(row);
  row["lr"] = step.lr;
  row["tokens_per_s"] = static_cast<double>(pending_tokens_) / std::max(pending_seconds_, 1e-9);
  row["time"] = step.seconds;
  if (step.with_layers) pending_.write_layers(row);
  pending_ = {};
  pending_tokens_ = 0;
  pending_seconds_ = 0;
  write(row);
}

JsonLinesSink::JsonLinesSink(const fs::path& file, std::int64_t every, std::int64_t step)
    : MetricsSink(every), file_(cut_after(file, step), OutputFile::Mode::append) {}

void JsonLinesSink::write(const Json& row) {
  file_.append(row.dump() + "\n");
}

}  // namespace moebius

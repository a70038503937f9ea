#include "convert/forecast.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>

#include "base/error.h"
#include "convert/prepare.h"
#include "model/runtime.h"

namespace moebius {
namespace {

/// Bytes per second that the disk of `directory` writes, synced; nothing if that cannot be
/// measured. The file has no name and disappears when it is closed.
std::optional<double> write_rate(const fs::path& directory) {
  constexpr std::size_t piece = 64 << 10, total = 64 << 20;
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return std::nullopt;
  const std::vector<std::byte> bytes(piece, std::byte{0x5A});
  const auto start = std::chrono::steady_clock::now();
  bool good = true;
  for (std::size_t done = 0; good && done < total; done += piece) {
    good = ::write(fd, bytes.data(), piece) == static_cast<ssize_t>(piece);
  }
  good = good && ::fdatasync(fd) == 0;
  ::close(fd);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (!good) return std::nullopt;
  return static_cast<double>(total) / seconds.count();
}

/// The nearest existing ancestor of `path`.
fs::path standing(const fs::path& path) {
  fs::path directory = fs::absolute(path).lexically_normal();
  while (!fs::is_directory(directory)) directory = directory.parent_path();
  return directory;
}

}  // namespace

ConversionForecast forecast(const ConvertOptions& options, const Context& ctx) {
  const ComputeScope scope(ctx);
  const PreparedConversion prepared(options, ctx);
  const OutputPlan plan =
      plan_output(prepared.sources, prepared.layers, prepared.recipes, options, ctx);
  ConversionForecast out;
  out.layers = prepared.layers;
  out.source = model_cost(prepared.sources.front().spec);
  out.result = model_cost(plan.spec);
  for (const OutputTensor& tensor : plan.tensors) {
    for (const TensorPart& part : tensor.parts) out.bytes += part.bytes;
  }
  if (const auto rate = write_rate(standing(options.out))) {
    out.seconds = static_cast<double>(out.bytes) / *rate;
  }
  return out;
}

}  // namespace moebius

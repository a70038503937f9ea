// Packed weights as files: what the command line and a server call.
#pragma once

#include "base/context.h"
#include "config/options.h"

namespace moebius {

struct QuantizeOptions {
  fs::path model, out;
  std::string weights = "int4";
  std::vector<std::string> calibration;  ///< text that codes are chosen for
  std::int64_t calibration_tokens = 8192;
  bool overwrite = false;

  void declare(OptionSet& options);
};

struct QuantizeReport {
  std::int64_t source_bytes = 0, bytes = 0;  ///< of all weights
  double bits = 0;                           ///< of a packed weight, scales included
  double seconds = 0;
};

/// Packs a model and writes it as a directory that generate, eval and bench open. With calibration
/// text the codes are those with which the model does best on it (`quantise_for_text`), else each
/// is the nearest. Throws Error before anything stands under the final name.
QuantizeReport quantize(const QuantizeOptions& options, const Context& ctx);

}  // namespace moebius

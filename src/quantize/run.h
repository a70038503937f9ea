// Packed weights as files: what the command line and a server call.
#pragma once

#include "base/context.h"
#include "config/options.h"

namespace moebius {

struct QuantizeOptions {
  fs::path model, out;
  std::string weights = "int4";
  bool overwrite = false;

  void declare(OptionSet& options);
};

struct QuantizeReport {
  std::int64_t source_bytes = 0, bytes = 0;  ///< of all weights
  double bits = 0;                           ///< of a packed weight, scales included
  double seconds = 0;
};

/// Packs a model and writes it as a directory that generate, eval and bench open. Throws Error
/// before anything stands under the final name.
QuantizeReport quantize(const QuantizeOptions& options, const Context& ctx);

}  // namespace moebius

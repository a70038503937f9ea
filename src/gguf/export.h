// A model as one GGUF file.
#pragma once

#include <string>

#include "base/context.h"
#include "base/files.h"
#include "config/options.h"

namespace moebius {

struct ExportOptions {
  fs::path model, out;
  std::string format = "gguf", dtype;
  bool overwrite = false;

  void declare(OptionSet& options);
};

struct ExportReport {
  std::string architecture;  ///< as llama.cpp calls it
  std::size_t tensors = 0, bytes = 0;
  std::size_t narrow = 0;  ///< tensors that are f16 because 32 does not divide their rows
  double seconds = 0;
};

/// Writes the model in `directory`, which is what `options.model` means. Tensors are
/// converted a few MB at a time. Throws Error naming what GGUF cannot represent, or a weight that
/// the type cannot hold, before there is a file under the final name.
ExportReport export_gguf(const fs::path& directory, const ExportOptions& options,
                         const Context& ctx);

}  // namespace moebius

// A synthetic corpus of four domains with different words and structure, so that the experts of a
// small model can specialise without any download.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/context.h"

namespace moebius {

namespace fs = std::filesystem;

struct SynthOptions {
  fs::path out;
  std::int64_t samples = 1000;  ///< Per domain, held-out ones included.
  double heldout = 0.1;         ///< Share of the samples that is held out, at least one.
  bool overwrite = false;
};

struct SynthReport {
  struct Domain {
    std::string name;
    std::int64_t train = 0, heldout = 0;  ///< Samples.
    std::int64_t bytes = 0;               ///< Of both files.
  };
  std::vector<Domain> domains;
};

/// Writes DIR/{finance,legal,code,general}.{train,heldout}.jsonl, a line {"text": "..."} per
/// sample. The bytes depend on `ctx.seed`, `samples` and `heldout` alone; no sample of a domain
/// occurs twice. Throws Error on options that leave one of the files empty.
SynthReport synthesise(const SynthOptions& options, const Context& ctx);

}  // namespace moebius

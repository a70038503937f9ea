#include "data/synth.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/random.h"
#include "base/staged.h"
#include "data/synth_domains.h"

namespace moebius {
namespace {

/// After this many failures in a row the grammar is taken to have no further samples.
constexpr int kMaxTries = 2000;

std::int64_t count_words(std::string_view text) {
  std::int64_t words = 0;
  for (bool inside = false; const char c : text) {
    const bool blank = c == ' ' || c == '\n';
    words += !blank && !inside;
    inside = !blank;
  }
  return words;
}

bool has_good_length(std::string_view text, bool is_code) {
  if (text.size() < 350 || text.size() > 700) return false;
  const auto lines = std::ranges::count(text, '\n') + 1;
  const std::int64_t words = count_words(text);
  return is_code ? lines >= 8 && lines <= 25 : words >= 60 && words <= 140;
}

/// Draws distinct samples of one domain.
class SampleSource {
 public:
  SampleSource(const synth::Domain& domain, std::uint64_t seed)
      : domain_(domain), grammar_(domain), random_(seed, stream_of(domain.name)) {}

  std::string next() {
    for (int tries = 0; tries < kMaxTries; ++tries) {
      std::string text = grammar_.sample(random_);
      if (!has_good_length(text, domain_.is_code)) continue;
      // Compared by hash: a collision only means that a sample is redrawn.
      if (seen_.insert(stream_of(text)).second) return text;
    }
    throw Error(
        fmt::format("{}: no new sample after {} different ones", domain_.name, seen_.size()),
        "lower --samples");
  }

 private:
  const synth::Domain& domain_;
  synth::Grammar grammar_;
  Random random_;
  std::unordered_set<std::uint64_t> seen_;
};

std::int64_t write_samples(const fs::path& file, SampleSource& source, std::int64_t count,
                           const Context& ctx) {
  OutputFile out(file);
  std::int64_t bytes = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    ctx.check_interrupt();
    const std::string line = nlohmann::json{{"text", source.next()}}.dump() + "\n";
    out.append(line);
    bytes += static_cast<std::int64_t>(line.size());
  }
  return bytes;
}

std::int64_t heldout_count(const SynthOptions& options) {
  if (options.samples < 2) {
    throw Error(fmt::format("--samples is {}, must be at least 2", options.samples),
                "one sample to train on and one to hold out");
  }
  if (!(options.heldout > 0.0 && options.heldout < 1.0)) {
    fail("--heldout is {}, must lie between 0 and 1", options.heldout);
  }
  const auto wanted = std::llround(static_cast<double>(options.samples) * options.heldout);
  return std::clamp<std::int64_t>(wanted, 1, options.samples - 1);
}

}  // namespace

SynthReport synthesise(const SynthOptions& options, const Context& ctx) {
  const std::int64_t heldout = heldout_count(options), train = options.samples - heldout;
  StagedDirectory directory(options.out, options.overwrite);
  SynthReport report;
  for (const synth::Domain& domain : {synth::finance_domain(), synth::legal_domain(),
                                      synth::code_domain(), synth::general_domain()}) {
    const std::string name(domain.name);
    SampleSource source(domain, ctx.seed);
    std::int64_t bytes =
        write_samples(directory.path() / (name + ".train.jsonl"), source, train, ctx);
    bytes += write_samples(directory.path() / (name + ".heldout.jsonl"), source, heldout, ctx);
    report.domains.push_back({name, train, heldout, bytes});
  }
  directory.commit();
  return report;
}

}  // namespace moebius

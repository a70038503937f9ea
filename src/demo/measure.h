// Measures the models of the demo side by side, and formats the table of the results.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "config/weights.h"
#include "eval/evaluate_ids.h"
#include "text/tokenizer.h"

namespace moebius {

/// Held-out ids of one domain.
struct DomainText {
  std::string name;
  std::vector<std::int32_t> ids;
};

/// One row of the table.
struct DemoRow {
  std::string name;
  fs::path model;
  bool speed_only = false;
  std::vector<EvalResult> domains;
  EvalResult total;
  ModelCost cost;
  double tokens_per_s = 0;  ///< forward pass over held-out text, median of the rounds
};

/// Held-out text of the four domains in `data`, at most `limit` tokens each (0: all of it).
std::vector<DomainText> read_domains(const fs::path& data, const Tokenizer& tokenizer,
                                     std::optional<std::int64_t> eos, std::size_t limit);

/// Fills the rows: perplexity from the first round, speed as the median over `rounds`. The models
/// take turns, so that other load on the machine affects all of them.
void measure_rows(std::vector<DemoRow>& rows, const std::vector<DomainText>& domains,
                  std::int64_t context, int rounds, const Context& ctx);

/// The table, one line per row.
std::string format_table(const std::vector<DemoRow>& rows);

/// "finance -> 3 5   legal -> 0 1 ...": the two experts whose share of each domain exceeds their
/// share of all domains most, in the MoE layer where experts and domains correlate most.
std::string format_experts(const DemoRow& row);

/// The rows and the experts of the MoE's domains as `demo.json` holds them.
Json json_of(const std::vector<DemoRow>& rows);

}  // namespace moebius

// Measuring the models of the demo side by side, and what the table is made of.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "config/weights.h"
#include "eval/evaluate.h"
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
  double tokens_per_s = 0;  ///< forward over held-out text, median of the rounds
};

/// Held-out text of the four domains in `data`, at most `limit` tokens each (0: all of it).
std::vector<DomainText> read_domains(const fs::path& data, const Tokenizer& tokenizer,
                                     std::optional<std::int64_t> eos, std::size_t limit);

/// Fills the rows: quality from the first round, speed as the median over `rounds`, the models
/// taking turns so that a noisy machine disturbs all alike.
void measure_rows(std::vector<DemoRow>& rows, const std::vector<DomainText>& domains,
                  std::int64_t context, int rounds, const Context& ctx);

/// The table, a line a row.
std::string format_table(const std::vector<DemoRow>& rows);

/// "finance -> 3 5   legal -> 0 1 ...": the two experts that take most of each domain beyond their
/// share of everything, in the MoE layer where domains differ most.
std::string format_experts(const DemoRow& row);

/// The rows and the experts of the MoE's domains as `demo.json` holds them.
Json json_of(const std::vector<DemoRow>& rows);

}  // namespace moebius

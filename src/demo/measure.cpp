#include "demo/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/corpus.h"

namespace moebius {
namespace {

/// Mutual information of domain and expert in one layer, in nats, for equally likely domains.
double mutual_information(const DemoRow& row, std::size_t layer) {
  const std::vector<double> all = row.total.routing.layers[layer].share_E();
  double sum = 0;
  for (const EvalResult& domain : row.domains) {
    const std::vector<double> share = domain.routing.layers[layer].share_E();
    for (std::size_t e = 0; e < all.size(); ++e) {
      if (share[e] > 0 && all[e] > 0) sum += share[e] * std::log(share[e] / all[e]);
    }
  }
  return sum / static_cast<double>(row.domains.size());
}

/// The MoE layer with the most mutual information of domain and expert.
std::size_t most_specialised_layer(const DemoRow& row) {
  const std::vector<std::size_t> layers = row.total.routing.moe_layers();
  return *std::max_element(layers.begin(), layers.end(), [&](std::size_t a, std::size_t b) {
    return mutual_information(row, a) < mutual_information(row, b);
  });
}

/// The two experts whose share of a domain exceeds their share of all domains most.
std::vector<std::size_t> experts_of_domain(const DemoRow& row, std::size_t domain,
                                           std::size_t layer) {
  const std::vector<double> share = row.domains[domain].routing.layers[layer].share_E();
  const std::vector<double> all = row.total.routing.layers[layer].share_E();
  std::vector<std::size_t> order(share.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return share[a] - all[a] > share[b] - all[b]; });
  order.resize(std::min<std::size_t>(2, order.size()));
  return order;
}

}  // namespace

std::vector<DomainText> read_domains(const fs::path& data, const Tokenizer& tokenizer,
                                     std::optional<std::int64_t> eos, std::size_t limit) {
  std::vector<DomainText> domains;
  for (const char* name : {"finance", "legal", "code", "general"}) {
    DomainText domain{
        name, tokenize_file(data / fmt::format("{}.heldout.jsonl", name), "text", tokenizer, eos)};
    if (limit > 0 && domain.ids.size() > limit) domain.ids.resize(limit);
    domains.push_back(std::move(domain));
  }
  return domains;
}

void measure_rows(std::vector<DemoRow>& rows, const std::vector<DomainText>& domains,
                  std::int64_t context, int rounds, const Context& ctx) {
  std::vector<std::vector<double>> speeds(rows.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const auto model = open_for_inference(rows[r].model, {}, ctx);
      std::vector<EvalResult> results;
      for (const DomainText& domain : domains) {
        results.push_back(evaluate_ids(*model, domain.ids, context, nullptr, ctx));
        results.back().name = domain.name;
      }
      EvalResult total = merge_results(results);
      speeds[r].push_back(static_cast<double>(total.tokens) / total.seconds);
      if (round > 0) continue;
      rows[r].cost = model_cost(model->spec());
      rows[r].domains = std::move(results);
      rows[r].total = std::move(total);
    }
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::sort(speeds[r].begin(), speeds[r].end());
    rows[r].tokens_per_s = speeds[r][speeds[r].size() / 2];
  }
}

std::string format_table(const std::vector<DemoRow>& rows) {
  std::string out = fmt::format("{:<22}", "perplexity");
  for (const EvalResult& domain : rows[0].domains) out += fmt::format(" {:>8}", domain.name);
  out += fmt::format(" {:>8} | {:>15}  {:>12}  {:>8}\n", "all", "active/total M", "MFLOP/token",
                     "tok/s");
  for (const DemoRow& row : rows) {
    out += fmt::format("{:<22}", row.name);
    for (const EvalResult& domain : row.domains) {
      out +=
          row.speed_only ? fmt::format(" {:>8}", "-") : fmt::format(" {:>8.3f}", domain.perplexity);
    }
    out += row.speed_only ? fmt::format(" {:>8}", "-")
                          : fmt::format(" {:>8.3f}", row.total.perplexity);
    const std::string size =
        fmt::format("{:.3f}/{:.3f}", static_cast<double>(row.cost.active_parameters) / 1e6,
                    static_cast<double>(row.cost.parameters) / 1e6);
    out += fmt::format(" | {:>15}  {:>12.2f}  {:>8.0f}\n", size,
                       static_cast<double>(row.cost.flops_per_token) / 1e6, row.tokens_per_s);
  }
  return out;
}

std::string format_experts(const DemoRow& row) {
  const std::size_t layer = most_specialised_layer(row);
  std::string out = fmt::format("layer {}:", layer);
  for (std::size_t d = 0; d < row.domains.size(); ++d) {
    out += fmt::format("{} {} -> {}", d == 0 ? "" : "  ", row.domains[d].name,
                       fmt::join(experts_of_domain(row, d, layer), " "));
  }
  return out;
}

Json json_of(const std::vector<DemoRow>& rows) {
  Json json{{"format", "moebius-demo"}, {"rows", Json::array()}};
  for (const DemoRow& row : rows) {
    Json entry{{"name", row.name},
               {"model", row.model.string()},
               {"parameters", row.cost.parameters},
               {"active_parameters", row.cost.active_parameters},
               {"flops_per_token", row.cost.flops_per_token},
               {"tokens_per_s", row.tokens_per_s}};
    if (!row.speed_only) {
      for (const EvalResult& domain : row.domains) {
        entry["perplexity"][domain.name] = domain.perplexity;
      }
      entry["perplexity"]["all"] = row.total.perplexity;
    }
    if (!row.speed_only && !row.total.routing.moe_layers().empty()) {
      const std::size_t layer = most_specialised_layer(row);
      entry["experts"]["layer"] = layer;
      for (std::size_t d = 0; d < row.domains.size(); ++d) {
        entry["experts"][row.domains[d].name] = experts_of_domain(row, d, layer);
      }
    }
    json["rows"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace moebius

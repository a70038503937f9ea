#include "train/metrics.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/support.h"
#include "train/metrics_sink.h"

namespace moebius {
namespace {

RoutingStatistics routing(const std::vector<double>& tokens_E) {
  RoutingStatistics out;
  out.layers.resize(2);  // the first one is dense
  RouterStatistics& layer = out.layers[1];
  layer.tokens_E = tokens_E;
  for (const double tokens : tokens_E) layer.tokens += static_cast<std::int64_t>(tokens);
  layer.entropy_sum = 0.5 * static_cast<double>(layer.tokens);
  return out;
}

TEST(Metrics, MeansAreWeightedAndCombineAsIfTheyWereOne) {
  Metrics a, b, all;
  a.add_mean("loss", 2.0, 3);
  b.add_mean("loss", 4.0, 1);
  b.add_sum("tokens", 7);
  b.add_mean("loss", 100.0, 0);
  all.merge(a);
  all.merge(b);
  EXPECT_DOUBLE_EQ(all.value("loss"), 2.5);
  EXPECT_EQ(all.value("tokens"), 7);
  EXPECT_EQ(all.value("unknown"), 0);
  EXPECT_TRUE(support::mentions(support::error_of([&] { a.add_sum("loss", 1); }),
                                {"loss", "both a mean and a sum"}));
}

TEST(Metrics, RoutingIsThatOfAllMicroBatchesNotOfTheLast) {
  Metrics first, second;
  first.add_routing(routing({4, 0, 0, 0}));
  second.add_routing(routing({0, 2, 1, 1}));
  first.merge(second);
  Json row;
  first.write(row);
  EXPECT_EQ(row["dead_experts"], 0);  // each half alone has dead ones
  EXPECT_DOUBLE_EQ(row["max_violation"], 1.0);
  EXPECT_DOUBLE_EQ(row["router_entropy"], 0.5);
  first.write_layers(row);
  ASSERT_EQ(row["layers"].size(), 1u);
  EXPECT_EQ(row["layers"][0]["layer"], 1);
  EXPECT_EQ(row["layers"][0]["load"], Json({0.5, 0.25, 0.125, 0.125}));
  EXPECT_EQ(row["layers"][0]["dead"], 0);
}

TEST(Metrics, WithoutRoutersThereAreNoFiguresOfRouting) {
  Metrics metrics;
  metrics.add_mean("loss", 1, 1);
  Json row;
  metrics.write(row);
  metrics.write_layers(row);
  EXPECT_EQ(row, Json({{"loss", 1.0}}));
}

class CollectingSink : public MetricsSink {
 public:
  using MetricsSink::MetricsSink;
  std::vector<Json> rows;

 protected:
  void write(const Json& row) override { rows.push_back(row); }
};

StepRecord record(std::int64_t step, double loss) {
  StepRecord out{.step = step, .tokens = 10 * step, .step_tokens = 10, .step_seconds = 2};
  out.metrics.add_mean("loss", loss, 1);
  return out;
}

TEST(MetricsSink, ARowHoldsTheStepsSinceTheLastOne) {
  CollectingSink each(1), third(3);
  for (std::int64_t step = 1; step <= 7; ++step) {
    each.add(record(step, static_cast<double>(step)));
    third.add(record(step, static_cast<double>(step)));
  }
  EXPECT_EQ(each.rows.size(), 7u);
  ASSERT_EQ(third.rows.size(), 2u);
  EXPECT_EQ(third.rows[1]["step"], 6);
  EXPECT_EQ(third.rows[1]["tokens"], 60);
  EXPECT_DOUBLE_EQ(third.rows[1]["loss"], 5.0);
  EXPECT_DOUBLE_EQ(third.rows[1]["tokens_per_s"], 5.0);
}

TEST(JsonLinesSink, DropsRowsOfAFutureThatWasLeft) {
  const support::TempDir dir;
  const fs::path file = dir.path() / "metrics.jsonl";
  {
    JsonLinesSink sink(file, 1, 0);
    for (std::int64_t step = 1; step <= 4; ++step) sink.add(record(step, 1));
  }
  OutputFile(file, OutputFile::Mode::append).append("{\"step\": 5, \"cut");
  JsonLinesSink sink(file, 1, 2);
  sink.add(record(3, 9));
  std::vector<std::int64_t> steps;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) steps.push_back(Json::parse(line)["step"]);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace moebius

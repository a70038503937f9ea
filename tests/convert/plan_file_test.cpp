#include "convert/plan_file.h"

#include "base/support.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::TempDir;

using Layers = std::vector<std::int64_t>;

class PlanFile : public ::testing::Test {
 protected:
  std::vector<LayerPlan> read(std::string_view text, std::int64_t layers = 8) {
    options_.plan = dir_.write("plan.yaml", text);
    return read_plan(options_, layers);
  }
  std::string error(std::string_view text) {
    return error_of([&] { read(text); });
  }
  TempDir dir_;
  ConvertOptions options_;
};

TEST_F(PlanFile, WithoutOneThereIsOneRowOfTheCommandLine) {
  options_.every = 3;
  options_.experts = 7;
  const auto rows = read_plan(options_, 8);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].layers, (Layers{0, 3, 6}));
  EXPECT_EQ(rows[0].options.experts, 7);
  EXPECT_EQ(rows[0].where, "");
}

TEST_F(PlanFile, RowsOverrideTheCommandLineAndKeepTheRest) {
  options_.noise = 0.5;
  options_.experts = 3;
  const auto rows = read(
      "- layers: 0-2\n"
      "  experts: 6\n"
      "  top-k: 4\n"
      "- layers: [5, 7]\n"
      "  method: split\n"
      "  partition: random\n"
      "  noise: 0\n");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].layers, (Layers{0, 1, 2}));
  EXPECT_EQ(rows[0].options.experts, 6);
  EXPECT_EQ(rows[0].options.top_k, 4);
  EXPECT_EQ(rows[0].options.method, ConversionMethod::upcycle);
  EXPECT_EQ(rows[0].options.noise, 0.5);
  EXPECT_EQ(rows[1].layers, (Layers{5, 7}));
  EXPECT_EQ(rows[1].options.experts, 3);
  EXPECT_EQ(rows[1].options.method, ConversionMethod::split);
  EXPECT_EQ(rows[1].options.partition, NeuronPartition::random);
  EXPECT_EQ(rows[1].options.noise, 0);
  EXPECT_TRUE(rows[1].where.ends_with("plan.yaml:4")) << rows[1].where;
}

TEST_F(PlanFile, PromptsAreListsOfTexts) {
  const auto rows = read(
      "- layers: all\n"
      "  router: prompts\n"
      "  prompts:\n"
      "    - positive: one\n"
      "    - positive: [two, three]\n"
      "      negative: [\"four: five\"]\n",
      2);
  ASSERT_EQ(rows[0].prompts.size(), 2u);
  EXPECT_EQ(rows[0].prompts[0].positive, std::vector<std::string>{"one"});
  EXPECT_TRUE(rows[0].prompts[0].negative.empty());
  EXPECT_EQ(rows[0].prompts[1].positive, (std::vector<std::string>{"two", "three"}));
  EXPECT_EQ(rows[0].prompts[1].negative, std::vector<std::string>{"four: five"});
}

TEST_F(PlanFile, ErrorsNameFileLineAndWayOut) {
  EXPECT_TRUE(mentions(error("layers: 0\n"), {"plan.yaml", "a list of rows"}));
  EXPECT_TRUE(mentions(error("[]\n"), {"plan.yaml", "a list of rows"}));
  EXPECT_TRUE(mentions(error("- layers: 0\n- experts: 3\n"), {"plan.yaml:2", "no layers"}));
  EXPECT_TRUE(mentions(error("- 3\n"), {"plan.yaml:1", "a row"}));
  EXPECT_TRUE(mentions(error("- layers: 0\n  expert: 3\n"), {"plan.yaml:2", "expert"}));
  EXPECT_TRUE(mentions(error("- layers: 0\n  experts: many\n"), {"plan.yaml:2", "experts"}));
  EXPECT_TRUE(mentions(error("- layers: 0\n  method: melt\n"), {"plan.yaml:2", "method"}));
  EXPECT_TRUE(mentions(error("- layers: 8\n"), {"layer 8", "0 to 7"}));
  EXPECT_TRUE(mentions(error("- layers: 0-3\n- layers: 3\n"), {"plan.yaml:2", "layer 3 again"}));
  EXPECT_TRUE(mentions(error("- layers: {a: 1}\n"), {"plan.yaml:1", "layers"}));
  EXPECT_TRUE(mentions(error("- layers: [0\n"), {"plan.yaml"}));
}

TEST_F(PlanFile, ErrorsInPromptsNameTheirLine) {
  const std::string row = "- layers: 0\n  prompts:\n";
  EXPECT_TRUE(mentions(error(row + "    - positive: []\n"), {"plan.yaml:3", "expert 0"}));
  EXPECT_TRUE(mentions(error(row + "    - negative: a\n"), {"plan.yaml:3", "no positive"}));
  EXPECT_TRUE(mentions(error(row + "    - neutral: a\n"), {"plan.yaml:3", "neutral"}));
  EXPECT_TRUE(mentions(error(row + "    - a\n"), {"plan.yaml:3", "positive"}));
  EXPECT_TRUE(mentions(error("- layers: 0\n  prompts: a\n"), {"plan.yaml:2", "a list"}));
}

TEST_F(PlanFile, LayersOfTheCommandLineContradictIt) {
  options_.layers = "0";
  EXPECT_TRUE(mentions(error("- layers: 1\n"), {"--layers", "--plan"}));
}

}  // namespace
}  // namespace moebius

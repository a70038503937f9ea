#include "data/grammar.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"

namespace moebius::synth {
namespace {

std::string sample_of(const Domain& domain, std::uint64_t seed = 1) {
  Random random(seed, 0);
  return Grammar(domain).sample(random);
}

Domain domain_of(std::vector<Rule> rules, std::vector<Variable> variables = {},
                 void (*bind)(Expansion&) = nullptr) {
  return {"test", std::move(rules), std::move(variables), bind, false};
}

std::string message_of(const Domain& domain) {
  try {
    sample_of(domain);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Grammar, ExpandsNestedRulesAndModifiers) {
  const auto domain = domain_of({{"sample", {"<A fruit>, <two> and <Fruit>; 1 < 2 <= <x y> -> 3"}},
                                 {"two", {"<a fruit> or <s fruit>"}},
                                 {"fruit", {"apple"}}});
  EXPECT_EQ(sample_of(domain), "An apple, an apple or apples and Apple; 1 < 2 <= <x y> -> 3");
}

TEST(Grammar, VariablesRecurAndDiffer) {
  const auto domain = domain_of({{"sample", {"<one> <two> <one> <two>"}}, {"letter", {"a | b"}}},
                                {{"one", "letter"}, {"two", "letter"}});
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const std::string text = sample_of(domain, seed);
    EXPECT_TRUE(text == "a b a b" || text == "b a b a") << text;
  }
}

TEST(Grammar, MoreVariablesThanAlternativesRepeat) {
  const auto domain = domain_of({{"sample", {"<one><two>"}}, {"letter", {"a"}}},
                                {{"one", "letter"}, {"two", "letter"}});
  EXPECT_EQ(sample_of(domain), "aa");
}

TEST(Grammar, WeightsAreFollowed) {
  const Grammar grammar(domain_of({{"sample", {{9, "often"}, {1, "seldom"}}}}));
  Random random(5, 0);
  std::map<std::string, int> counts;
  for (int i = 0; i < 10000; ++i) ++counts[grammar.sample(random)];
  EXPECT_NEAR(counts["often"], 9000, 150);  // five standard deviations
}

TEST(Grammar, BoundValuesWinOverRules) {
  const auto domain = domain_of({{"sample", {"<x>"}}, {"x", {"rule"}}}, {},
                                [](Expansion& e) { e.set("x", "bound"); });
  EXPECT_EQ(sample_of(domain), "bound");
}

TEST(Grammar, BlocksKeepTheIndentOfTheirReference) {
  const auto domain = domain_of({{"sample", {"for:\n    <body>\n    x = <pair>"}},
                                 {"body", {"if a:\n    b\n\nc"}},
                                 {"pair", {"(1,\n2)"}}});
  EXPECT_EQ(sample_of(domain), "for:\n    if a:\n        b\n\n    c\n    x = (1,\n2)");
}

TEST(Grammar, MistakesInTablesAreErrors) {
  EXPECT_EQ(message_of(domain_of({{"sample", {"<nothing>"}}})), "grammar: no rule nothing");
  EXPECT_EQ(message_of(domain_of({{"sample", {"a"}}, {"sample", {"b"}}})),
            "test: duplicate rule sample");
  EXPECT_EQ(message_of(domain_of({{"sample", {"a"}}}, {{"v", "w"}})),
            "test: variable v of no rule w");
  EXPECT_EQ(message_of(domain_of({{"sample", {{0, "a"}}}})), "test: a weight below 1 in sample");
  EXPECT_EQ(message_of(domain_of({{"sample", {"<sample>"}}})),
            "grammar: rules nest deeper than 50");
}

TEST(Grammar, Articles) {
  for (const char* an : {"apple", "umbrella", "hour", "8 percent", "18 percent", "undertaking"}) {
    EXPECT_EQ(article(an), "an") << an;
  }
  for (const char* a : {"violin", "user", "unit", "one-way trip", "9 percent", "house"}) {
    EXPECT_EQ(article(a), "a") << a;
  }
}

TEST(Grammar, Plurals) {
  EXPECT_EQ(plural("order"), "orders");
  EXPECT_EQ(plural("entry"), "entries");
  EXPECT_EQ(plural("day"), "days");
  EXPECT_EQ(plural("box"), "boxes");
  EXPECT_EQ(plural("match"), "matches");
}

}  // namespace
}  // namespace moebius::synth

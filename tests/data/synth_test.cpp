#include "data/synth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "base/support.h"
#include "base/utf8.h"
#include "data/documents.h"

namespace moebius {
namespace {

const std::vector<std::string> kDomains = {"finance", "legal", "code", "general"};

class SynthTest : public ::testing::Test {
 protected:
  SynthReport run(const char* name, std::uint64_t seed, std::int64_t samples = 1000,
                  double heldout = 0.1, bool overwrite = false) {
    Context ctx;
    ctx.seed = seed;
    return synthesise({path(name), samples, heldout, overwrite}, ctx);
  }
  fs::path path(const std::string& name) { return directory_.path() / name; }
  /// All samples of a domain, held-out ones last.
  std::vector<std::string> samples(const std::string& name, const std::string& domain) {
    auto all = read_documents(path(name) / (domain + ".train.jsonl"));
    for (auto& text : read_documents(path(name) / (domain + ".heldout.jsonl"))) {
      all.push_back(std::move(text));
    }
    return all;
  }
  template <class Action>
  std::string error(Action&& action) {
    return support::message_of(directory_.path(), action);
  }
  support::TempDir directory_;
};

TEST_F(SynthTest, WritesTheFilesThatTheReportCounts) {
  const SynthReport report = run("out", 1);
  ASSERT_EQ(report.domains.size(), 4u);
  std::int64_t total = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto& domain = report.domains[i];
    EXPECT_EQ(domain.name, kDomains[i]);
    EXPECT_EQ(domain.train, 900);
    EXPECT_EQ(domain.heldout, 100);
    const fs::path train = path("out") / (domain.name + ".train.jsonl");
    const fs::path heldout = path("out") / (domain.name + ".heldout.jsonl");
    EXPECT_EQ(read_documents(train).size(), 900u);
    EXPECT_EQ(read_documents(heldout).size(), 100u);
    EXPECT_EQ(static_cast<std::uintmax_t>(domain.bytes),
              fs::file_size(train) + fs::file_size(heldout));
    total += domain.bytes;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(path("out")), fs::directory_iterator()), 8);
  EXPECT_GT(total, 1'600'000);
  EXPECT_LT(total, 2'200'000);
}

TEST_F(SynthTest, SameSeedSameBytesOtherSeedOtherText) {
  run("a", 7, 100);
  run("b", 7, 100);
  run("c", 8, 100);
  for (const std::string& domain : kDomains) {
    for (const char* part : {".train.jsonl", ".heldout.jsonl"}) {
      const auto bytes = [&](const char* name) { return read_file(path(name) / (domain + part)); };
      EXPECT_EQ(bytes("a"), bytes("b")) << domain << part;
    }
    const auto a = samples("a", domain), c = samples("c", domain);
    const std::set<std::string> known(a.begin(), a.end());
    EXPECT_TRUE(std::ranges::none_of(c, [&](const auto& t) { return known.contains(t); }));
  }
}

TEST_F(SynthTest, NoSampleTwiceAndAllOfGoodLength) {
  run("out", 3, 2000);
  const std::regex word("[^ \n]+");
  for (const std::string& domain : kDomains) {
    const auto all = samples("out", domain);
    EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), 2000u) << domain;
    for (const std::string& text : all) {
      EXPECT_GE(text.size(), 350u) << text;
      EXPECT_LE(text.size(), 700u) << text;
      const auto lines = std::ranges::count(text, '\n') + 1;
      const auto words = std::distance(std::sregex_iterator(text.begin(), text.end(), word),
                                       std::sregex_iterator());
      if (domain == "code") {
        EXPECT_TRUE(lines >= 8 && lines <= 25) << text;
      } else {
        EXPECT_TRUE(words >= 60 && words <= 140) << text;
      }
    }
  }
}

TEST_F(SynthTest, NoLeftoversOfTheGrammarAndNoWrongArticles) {
  run("out", 4);
  const std::regex wrong(
      R"(<[a-zA-Z_ 0-9]+>|  +[a-z]|\ba [aeio]|\ban [bcdfgjklmnpqrstvwxyz]|[.?!]” [a-z]+\.|\.\.)");
  for (const char* domain : {"finance", "legal", "general"}) {
    for (const std::string& text : samples("out", domain)) {
      std::smatch match;
      EXPECT_FALSE(std::regex_search(text, match, wrong)) << match.str() << " in " << text;
    }
  }
}

double number(const std::string& text) {
  std::string digits = text;
  std::erase(digits, ',');
  return std::strtod(digits.c_str(), nullptr);
}

/// Checks `holds` on every match of `pattern` (its groups as numbers); returns how many there were.
template <class Check>
int check_all(const std::vector<std::string>& texts, const std::string& pattern, Check&& holds) {
  const std::regex regex(pattern);
  int found = 0;
  for (const std::string& text : texts) {
    for (std::sregex_iterator m(text.begin(), text.end(), regex), end; m != end; ++m, ++found) {
      std::vector<double> n{0};
      for (std::size_t i = 1; i < m->size(); ++i) n.push_back(number((*m)[i].str()));
      EXPECT_TRUE(holds(n)) << pattern << "\n" << text;
    }
  }
  return found;
}

bool near(double a, double b, double tolerance) {
  return std::abs(a - b) <= tolerance + 1e-9;
}

TEST_F(SynthTest, FinanceAddsUp) {
  run("out", 5);
  const auto texts = samples("out", "finance");
  const std::string n = "([0-9,]+\\.?[0-9]*)", any = "[^\n]*?";
  const auto is_change = [](double part, double whole, double percent) {
    return near(100.0 * std::abs(part) / whole, percent, 0.05);
  };
  // Revenue - cost = profit; profit / revenue = margin.
  EXPECT_GT(check_all(texts,
                      "revenue of \\$" + n + " million" + any + "costs of \\$" + n + " million" +
                          any + "profit of \\$" + n + " million" + any + n + "(?: percent)",
                      [&](const auto& v) {
                        return near(v[1] - v[2], v[3], 0.001) && is_change(v[3], v[1], v[4]);
                      }),
            100);
  EXPECT_GT(check_all(texts,
                      "revenue of \\$" + n + " million[^.]*, (?:up|down) " + n +
                          " percent from \\$" + n + " million",
                      [&](const auto& v) { return is_change(v[1] - v[3], v[3], v[2]); }),
            50);
  EXPECT_GT(check_all(texts,
                      "revenue of \\$" + n + " million" + any + "contributed \\$" + n +
                          " million and the \\w+ division the remaining \\$" + n + " million",
                      [](const auto& v) { return near(v[2] + v[3], v[1], 0.001); }),
            30);
  EXPECT_GT(check_all(texts,
                      "profit of \\$" + n + any + "On " + n +
                          " million shares outstanding, earnings came to \\$" + n,
                      [](const auto& v) { return near(v[1] / v[2], v[3], 0.005); }),
            30);
  EXPECT_GT(check_all(texts, "cut by \\$" + n + " million, from \\$" + n + " million to \\$" + n,
                      [](const auto& v) { return near(v[2] - v[1], v[3], 0.001); }),
            30);
  // Markets: points and percent of the index, basis points of the yield.
  EXPECT_GT(check_all(texts,
                      "opened at " + n + " and ended the session at " + n + ", a move of " + n +
                          " points or " + n + " percent",
                      [&](const auto& v) {
                        return near(std::abs(v[2] - v[1]), v[3], 0.001) &&
                               is_change(v[3], v[1], v[4]);
                      }),
            20);
  EXPECT_GT(check_all(texts, n + " basis points, from " + n + " percent to " + n + " percent",
                      [](const auto& v) { return near(100 * std::abs(v[2] - v[3]), v[1], 0.001); }),
            20);
  // Bonds: coupon, instalments, year of maturity.
  EXPECT_GT(check_all(texts,
                      "Holders receive annual interest of \\$" + n + " million, which is " + n +
                          " percent of \\$" + n + " million",
                      [](const auto& v) { return near(v[2] * v[3] / 100, v[1], 0.0001); }),
            20);
  EXPECT_GT(check_all(texts, "interest of \\$" + n + any + "instalments of \\$" + n + " million",
                      [](const auto& v) { return near(v[1] / 2, v[2], 0.0001); }),
            20);
  EXPECT_GT(check_all(texts, "In " + n + " " + any + "term of " + n + " years" + any + "in " + n,
                      [](const auto& v) { return v[1] + v[2] == v[3]; }),
            20);
  // Portfolios: price times count, gain or loss.
  EXPECT_GT(check_all(texts,
                      "bought " + n + " shares" + any + "at \\$" + n + " each, a position of \\$" +
                          n + "\\.",
                      [](const auto& v) { return near(v[1] * v[2], v[3], 0.001); }),
            20);
  EXPECT_GT(check_all(texts,
                      "(?:position of|cost) \\$" + n + "\\." + any + "for \\$" + n + any +
                          "a (?:gain|loss) of \\$" + n + any + n + " percent",
                      [&](const auto& v) {
                        return near(std::abs(v[2] - v[1]), v[3], 0.001) &&
                               is_change(v[3], v[1], v[4]);
                      }),
            50);
  EXPECT_GT(check_all(texts, "for \\$" + n + any + "fee of \\$" + n + any + "\\$" + n + "[;,]",
                      [](const auto& v) { return near(v[1] - v[2], v[3], 0.001); }),
            20);
  // Takeovers: parts of the price, premium.
  EXPECT_GT(check_all(texts,
                      "acquire [^$]*for \\$" + n + " million, made up of \\$" + n +
                          " million in cash and \\$" + n + " million in stock",
                      [](const auto& v) { return near(v[2] + v[3], v[1], 0.001); }),
            20);
  EXPECT_GT(check_all(texts,
                      "offer of \\$" + n + " a share is a premium of " + n +
                          " percent to the last close of \\$([0-9]+\\.[0-9]+)",
                      [&](const auto& v) { return is_change(v[1] - v[3], v[3], v[2]); }),
            20);
  // Households: what is left of the income, over a year.
  EXPECT_GT(
      check_all(texts,
                "income (?:of )?\\$([0-9,]+[0-9])" + any + "\\$([0-9,]+[0-9])" + any +
                    "\\$([0-9,]+[0-9])" + any + "\\$([0-9,]+[0-9])" + any + "\\$([0-9,]+[0-9])" +
                    any + "\\$([0-9,]+[0-9])" + any + "\\$([0-9,]+[0-9])",
                [](const auto& v) {
                  return v[2] + v[3] + v[4] == v[5] && v[1] - v[5] == v[6] && 12 * v[6] == v[7];
                }),
      50);
}

TEST_F(SynthTest, SectionsAreNumberedOnAndReferToEachOther) {
  run("out", 6);
  const std::regex heading(R"((?:^|\n)([0-9]+)\. )"), reference(R"(Sections? ([0-9]+))");
  int references = 0;
  for (const std::string& text : samples("out", "legal")) {
    std::set<int> numbers;
    for (std::sregex_iterator m(text.begin(), text.end(), heading), end; m != end; ++m) {
      numbers.insert(std::stoi((*m)[1].str()));
    }
    ASSERT_GE(numbers.size(), 2u) << text;
    EXPECT_EQ(*numbers.rbegin() - *numbers.begin() + 1, static_cast<int>(numbers.size())) << text;
    for (std::sregex_iterator m(text.begin(), text.end(), reference), end; m != end; ++m) {
      EXPECT_TRUE(numbers.contains(std::stoi((*m)[1].str()))) << m->str() << " in " << text;
      ++references;
    }
  }
  EXPECT_GT(references, 1500);
}

TEST_F(SynthTest, PronounsFitTheHero) {
  run("out", 6);
  const std::regex lived(R"(^(\w+) lived next to)"), she(R"(\b([Ss]he|[Hh]er)\b)"),
      he(R"(\b([Hh]e|[Hh]is|[Hh]im)\b)");
  const std::set<std::string> women = {"Anna",   "Beatrice", "Clara", "Daniela", "Esther",
                                       "Fatima", "Greta",    "Hana",  "Ingrid",  "Julia",
                                       "Katya",  "Leila",    "Marta", "Nadia",   "Olivia",
                                       "Priya",  "Ruth",     "Sofia", "Tamara"};
  int checked = 0;
  for (const std::string& text : samples("out", "general")) {
    std::smatch name;
    if (!std::regex_search(text, name, lived)) continue;
    // The first sentences are the hero's alone.
    const std::string start = text.substr(0, text.find(". ", text.find(". ") + 2));
    const bool woman = women.contains(name[1].str());
    EXPECT_TRUE(std::regex_search(start, woman ? she : he)) << text;
    EXPECT_FALSE(std::regex_search(start, woman ? he : she)) << text;
    ++checked;
  }
  EXPECT_GT(checked, 50);
}

TEST_F(SynthTest, PronounsAgreeWithEachOther) {
  run("out", 6);
  const std::regex possessive(R"((she|he) stopped: the [\w ]+ belonged to (her|his)\b)"),
      object(R"(bumped into (her|him), and when (she|he) looked)");
  int possessives = 0, objects = 0;
  for (const std::string& text : samples("out", "general")) {
    std::smatch m;
    if (std::regex_search(text, m, possessive)) {
      EXPECT_EQ(m[1] == "she", m[2] == "her") << text;
      ++possessives;
    }
    if (std::regex_search(text, m, object)) {
      EXPECT_EQ(m[1] == "her", m[2] == "she") << text;
      ++objects;
    }
  }
  EXPECT_GT(possessives, 30);
  EXPECT_GT(objects, 30);
}

TEST_F(SynthTest, CodeIsPythonAndItsAssertionsHold) {
  if (std::system("python3 -c '' >/dev/null 2>&1") != 0) GTEST_SKIP() << "python3 not found";
  run("out", 9, 3000);
  directory_.write("check.py", R"(import ast, json, sys
ran = 0
for name in sys.argv[1:]:
    for line in open(name, encoding="utf-8"):
        text = json.loads(line)["text"]
        ast.parse(text)
        if "assert" in text:
            exec(text, {"__name__": "sample"})
            ran += 1
sys.exit(0 if ran > 800 else 3)
)");
  const std::string command = fmt::format("python3 '{}' '{}' '{}'", path("check.py").string(),
                                          (path("out") / "code.train.jsonl").string(),
                                          (path("out") / "code.heldout.jsonl").string());
  EXPECT_EQ(std::system(command.c_str()), 0);
}

/// Words of a domain with their share of it.
std::map<std::string, double> word_shares(const std::vector<std::string>& texts) {
  std::map<std::string, double> shares;
  double total = 0;
  const std::regex word("[A-Za-z]+");
  for (const std::string& text : texts) {
    for (std::sregex_iterator m(text.begin(), text.end(), word), end; m != end; ++m, ++total) {
      ++shares[m->str()];
    }
  }
  for (auto& [name, share] : shares) share /= total;
  return shares;
}

TEST_F(SynthTest, DomainsDifferInTheirWords) {
  run("out", 10, 300);
  for (const std::string& a : kDomains) {
    for (const std::string& b : kDomains) {
      if (a >= b) continue;
      const auto of_a = word_shares(samples("out", a)), of_b = word_shares(samples("out", b));
      double shared = 0;
      for (const auto& [word, share] : of_a) {
        if (of_b.contains(word)) shared += std::min(share, of_b.at(word));
      }
      EXPECT_LT(shared, 0.4) << a << " and " << b;
    }
  }
}

TEST_F(SynthTest, HeldOutIsNeverEmptyNorEverything) {
  const auto split = [&](std::int64_t samples, double heldout) {
    const auto report = run("split", 0, samples, heldout, true);
    return std::pair(report.domains[2].train, report.domains[2].heldout);
  };
  EXPECT_EQ(split(2, 0.1), std::pair(1L, 1L));
  EXPECT_EQ(split(3, 0.99), std::pair(1L, 2L));
  EXPECT_EQ(split(20, 0.25), std::pair(15L, 5L));
}

TEST_F(SynthTest, OptionsAreChecked) {
  EXPECT_EQ(error([&] { run("out", 0, 1); }), "--samples is 1, must be at least 2");
  EXPECT_EQ(error([&] { run("out", 0, 10, 0.0); }), "--heldout is 0, must lie between 0 and 1");
  EXPECT_EQ(error([&] { run("out", 0, 10, 1.5); }), "--heldout is 1.5, must lie between 0 and 1");
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(SynthTest, NothingIsOverwrittenUnlessAsked) {
  run("out", 0, 10);
  const std::string before = read_file(path("out") / "legal.train.jsonl");
  EXPECT_EQ(error([&] { run("out", 1, 10); }), "out: already exists");
  EXPECT_EQ(read_file(path("out") / "legal.train.jsonl"), before);
  run("out", 1, 10, 0.1, true);
  EXPECT_NE(read_file(path("out") / "legal.train.jsonl"), before);
}

TEST_F(SynthTest, InterruptLeavesNothingBehind) {
  const std::atomic<int> signal{2};
  Context ctx;
  ctx.stop_signal = &signal;
  EXPECT_THROW(synthesise({path("out"), 10}, ctx), Interrupted);
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

}  // namespace
}  // namespace moebius

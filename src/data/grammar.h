// A small weighted context-free grammar with memory: variables that are drawn once per sample and
// recur in it, and values that a domain computes beforehand (sums, percentages, pronouns).
//
// Text of an alternative:
//   a | b        several alternatives, each with the weight of the whole
//   <rule>       a fresh expansion of the rule, or the value of the variable of that name
//   <Rule>       the same with its first letter in upper case
//   <a rule>     the same behind "a" or "an" (<A rule>: "A" or "An")
//   <s rule>     the same in the plural
// Any other "<" stands for itself. Where a reference is the first thing on an indented line, all
// lines of what it expands to are indented alike.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"

namespace moebius {

struct Alternative {
  std::string_view text;
  int weight = 1;
  Alternative(const char* text) : text(text) {}
  Alternative(int weight, const char* text) : text(text), weight(weight) {}
};

struct Rule {
  std::string_view name;
  std::vector<Alternative> alternatives;
};

/// Drawn from `rule` at its first use in a sample. Variables of one rule take different
/// alternatives and different values as long as there are any.
struct Variable {
  std::string_view name;
  std::string_view rule;
};

class Expansion;

struct Domain {
  std::string_view name;
  std::vector<Rule> rules;  ///< A sample is an expansion of the rule "sample".
  std::vector<Variable> variables;
  void (*bind)(Expansion&);  ///< Sets the computed values of a sample; may be null.
  bool is_code;
};

class Grammar {
 public:
  /// Throws Error on a rule named twice, a variable of no rule, a weight below 1.
  explicit Grammar(const Domain& domain);
  std::string sample(Random& random) const;

 private:
  friend class Expansion;
  struct Choice {
    std::string_view text;
    int weight;
  };
  std::map<std::string_view, std::vector<Choice>> rules_;
  std::map<std::string_view, std::string_view> variables_;
  void (*bind_)(Expansion&);
};

/// One sample in the making.
class Expansion {
 public:
  Expansion(const Grammar& grammar, Random& random) : grammar_(grammar), random_(random) {}

  /// In [low, high].
  std::int64_t draw(std::int64_t low, std::int64_t high);
  bool chance(double probability) { return random_.next_uniform() < probability; }
  void set(const std::string& name, std::string value);
  std::string expand(std::string_view text);

 private:
  std::string value_of(const std::string& name);
  std::string draw_variable(std::string_view rule);
  std::size_t choose(std::string_view rule, const std::set<std::size_t>& taken);

  const Grammar& grammar_;
  Random& random_;
  std::map<std::string, std::string, std::less<>> values_;
  std::map<std::string_view, std::set<std::size_t>> taken_;  ///< Alternatives, by rule.
  std::map<std::string_view, std::set<std::string>> drawn_;  ///< Values, by rule.
  int depth_ = 0;
};

/// "a" or "an", by how the phrase sounds.
std::string_view article(std::string_view phrase);
std::string plural(std::string_view noun);

}  // namespace moebius

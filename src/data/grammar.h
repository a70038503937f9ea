// A weighted context-free grammar that generates texts. Variables are drawn once per sample, so
// that their values recur in it; a domain may set computed values beforehand (sums, pronouns).
//
// Text of an alternative:
//   a | b        several alternatives, each with the weight of the whole
//   <rule>       a fresh expansion of the rule, or the value of the variable of that name
//   <Rule>       the same with its first letter in upper case
//   <a rule>     the same after "a" or "an" (<A rule>: "A" or "An")
//   <s rule>     the same in the plural
// Any other "<" is literal. If a reference is the first item of an indented line, all lines of its
// expansion get that indentation.
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

namespace moebius::synth {

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

/// A value that is drawn from `rule` at its first use in a sample. Variables of the same rule get
/// different alternatives and values as long as there are any left.
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
  /// Throws Error for duplicate rules, a variable without a rule, or a weight below 1.
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

/// The generation of one sample.
class Expansion {
 public:
  Expansion(const Grammar& grammar, Random& random) : grammar_(grammar), random_(random) {}

  /// A uniform random integer in [low, high].
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

}  // namespace moebius::synth

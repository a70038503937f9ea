#include "data/grammar.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "base/error.h"

namespace moebius::synth {
namespace {

constexpr int kMaxDepth = 50;

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

void capitalise(std::string& text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] -= 'a' - 'A';
}

struct Reference {
  std::size_t length = 0;  ///< Of the whole reference; 0: no reference.
  char modifier = 0;
  std::string_view name;
};

/// Reads the reference at `text[0] == '<'`.
Reference reference_at(std::string_view text) {
  const std::size_t end = text.find('>');
  if (end == std::string_view::npos || end < 2) return {};
  Reference found{end + 1, 0, text.substr(1, end - 1)};
  if (found.name.size() > 2 && found.name[1] == ' ' && std::strchr("aAs", found.name[0])) {
    found.modifier = found.name[0];
    found.name.remove_prefix(2);
  }
  const auto fits = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
  return std::ranges::all_of(found.name, fits) ? found : Reference{};
}

/// Appends `value`, its lines after the first indented like the last line of `out`, if that is
/// blank.
void append_block(std::string& out, const std::string& value) {
  const std::size_t line = out.rfind('\n') + 1;
  const bool blank = out.find_first_not_of(' ', line) == std::string::npos;
  const std::string indent(blank ? out.size() - line : 0, ' ');
  for (std::size_t i = 0; i < value.size(); ++i) {
    out += value[i];
    if (value[i] == '\n' && i + 1 < value.size() && value[i + 1] != '\n') out += indent;
  }
}

}  // namespace

Grammar::Grammar(const Domain& domain) : bind_(domain.bind) {
  for (const Rule& rule : domain.rules) {
    std::vector<Choice> choices;
    for (const Alternative& alternative : rule.alternatives) {
      if (alternative.weight < 1) fail("{}: a weight below 1 in {}", domain.name, rule.name);
      std::string_view rest = alternative.text;
      // Only lists on one line are split and trimmed: in code white space matters.
      for (std::size_t bar; (bar = rest.find(" | ")) != std::string_view::npos;) {
        choices.push_back({trim(rest.substr(0, bar)), alternative.weight});
        rest.remove_prefix(bar + 3);
      }
      choices.push_back({rest, alternative.weight});
    }
    if (!rules_.emplace(rule.name, std::move(choices)).second) {
      fail("{}: duplicate rule {}", domain.name, rule.name);
    }
  }
  for (const auto& [name, rule] : domain.variables) {
    if (!rules_.contains(rule)) fail("{}: variable {} of no rule {}", domain.name, name, rule);
    variables_.emplace(name, rule);
  }
}

std::string Grammar::sample(Random& random) const {
  Expansion expansion(*this, random);
  if (bind_ != nullptr) bind_(expansion);
  return expansion.expand("<sample>");
}

std::int64_t Expansion::draw(std::int64_t low, std::int64_t high) {
  return low +
         static_cast<std::int64_t>(random_.next_below(static_cast<std::uint64_t>(high - low) + 1));
}

void Expansion::set(const std::string& name, std::string value) {
  values_.insert_or_assign(name, std::move(value));
}

std::string Expansion::expand(std::string_view text) {
  if (++depth_ > kMaxDepth) fail("grammar: rules nest deeper than {}", kMaxDepth);
  std::string out;
  while (!text.empty()) {
    const Reference reference = text[0] == '<' ? reference_at(text) : Reference{};
    if (reference.length == 0) {
      out += text[0];
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(reference.length);
    std::string name(reference.name);
    const bool upper = std::isupper(static_cast<unsigned char>(name[0])) != 0;
    name[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(name[0])));
    std::string value = value_of(name);
    if (reference.modifier == 's') value = plural(value);
    if (upper) capitalise(value);
    if (reference.modifier == 'a' || reference.modifier == 'A') {
      value = fmt::format("{} {}", article(value), value);
      if (reference.modifier == 'A') capitalise(value);
    }
    append_block(out, value);
  }
  --depth_;
  return out;
}

std::string Expansion::value_of(const std::string& name) {
  if (const auto bound = values_.find(name); bound != values_.end()) return bound->second;
  if (const auto variable = grammar_.variables_.find(name); variable != grammar_.variables_.end()) {
    return values_[name] = draw_variable(variable->second);
  }
  const auto rule = grammar_.rules_.find(name);
  if (rule == grammar_.rules_.end()) fail("grammar: no rule {}", name);
  return expand(rule->second[choose(name, {})].text);
}

std::string Expansion::draw_variable(std::string_view rule) {
  const auto& choices = grammar_.rules_.at(rule);
  auto& taken = taken_[rule];
  if (taken.size() == choices.size()) taken.clear();
  const std::size_t chosen = choose(rule, taken);
  taken.insert(chosen);
  std::string value;
  for (int tries = 0; tries < 20; ++tries) {
    value = expand(choices[chosen].text);
    if (drawn_[rule].insert(value).second) break;
  }
  return value;
}

std::size_t Expansion::choose(std::string_view rule, const std::set<std::size_t>& taken) {
  const auto& choices = grammar_.rules_.at(rule);
  std::int64_t total = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (!taken.contains(i)) total += choices[i].weight;
  }
  std::int64_t left = draw(0, total - 1);
  std::size_t i = 0;
  while (taken.contains(i) || (left -= choices[i].weight) >= 0) ++i;
  return i;
}

std::string_view article(std::string_view phrase) {
  constexpr std::array silent = {"hour", "honest", "heir", "8", "11 ", "18 ", "11-", "18-"};
  constexpr std::array sounded = {"univ", "unio", "unif", "unit", "use", "usu", "one", "eur"};
  const auto starts = [&](std::string_view with) { return phrase.starts_with(with); };
  if (std::ranges::any_of(silent, starts)) return "an";
  if (phrase.empty() || std::ranges::any_of(sounded, starts)) return "a";
  return std::string_view("aeiouAEIO").find(phrase[0]) != std::string_view::npos ? "an" : "a";
}

std::string plural(std::string_view noun) {
  const auto ends = [&](std::string_view with) { return noun.ends_with(with); };
  if (ends("y") && noun.size() > 1 &&
      std::string_view("aeiou").find(noun[noun.size() - 2]) == std::string_view::npos) {
    return std::string(noun.substr(0, noun.size() - 1)) + "ies";
  }
  if (ends("s") || ends("x") || ends("ch") || ends("sh") || ends("z")) {
    return std::string(noun) + "es";
  }
  return std::string(noun) + "s";
}

}  // namespace moebius::synth

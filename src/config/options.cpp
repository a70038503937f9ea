#include "config/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "config/yaml.h"

namespace moebius {
namespace {

template <class T>
T parse_number(const Option& option, const std::string& text, const char* kind) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw UsageError(fmt::format("--{} {}: not {}", option.name, text, kind));
  }
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value))
      throw UsageError(fmt::format("--{} {}: not finite", option.name, text));
  }
  return value;
}

/// What the values of a range have in common, as "must be at least 1".
std::string requirement(const NumberRange& range) {
  const bool bounded = range.greatest < std::numeric_limits<double>::infinity();
  if (bounded && range.open) {
    return fmt::format("must be in ({}, {}]", range.least, range.greatest);
  }
  if (bounded) return fmt::format("must be between {} and {}", range.least, range.greatest);
  if (range.least != 0) {
    return fmt::format("must be {} {}", range.open ? "greater than" : "at least", range.least);
  }
  return range.open ? "must be positive" : "must not be negative";
}

template <class T>
void check_range(const Option& option, T value) {
  if (option.range.contains(static_cast<double>(value))) return;
  throw UsageError(fmt::format("--{} {}: {}", option.name, value, requirement(option.range)));
}

template <class T>
void set_number(const Option& option, T& target, const std::string& text, const char* kind) {
  const T value = parse_number<T>(option, text, kind);
  check_range(option, value);
  target = value;
}

bool parse_flag(const Option& option, const std::string& text) {
  if (text == "true" || text == "yes" || text == "1") return true;
  if (text == "false" || text == "no" || text == "0") return false;
  throw UsageError(fmt::format("--{} {}: not true or false", option.name, text));
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above + 1, row[j - 1] + 1, change});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

Option* OptionSet::find(std::string_view name) {
  for (Option& option : options_) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

bool OptionSet::given(std::string_view name) const {
  return std::any_of(options_.begin(), options_.end(),
                     [&](const Option& option) { return option.name == name && option.given; });
}

void CommonOptions::declare(OptionSet& options) {
  options.group("Common to all commands");
  options.add("config", config, "YAML file with any of these options; the command line wins");
  options.add("threads", threads, "threads to compute with (default: one per processor)")
      .at_least(0);
  options.add("device", device, "cpu, cuda or cuda:N");
  options.add("seed", seed, "seed of everything random");
  options.add("log-level", log_level, "what goes to stderr");
  options.add("overwrite", overwrite, "replace an output that exists");
  options.add("json", json, "print the result as one JSON object on stdout");
}

void set_value(Option& option, const std::vector<std::string>& values) {
  if (!std::holds_alternative<std::vector<std::string>*>(option.target) && values.size() != 1) {
    throw UsageError(
        fmt::format("--{}: one value was expected, {} given", option.name, values.size()));
  }
  for (const std::string& value : values) {
    if (!option.choices.empty() &&
        std::find(option.choices.begin(), option.choices.end(), value) == option.choices.end()) {
      std::string known;
      for (const std::string& choice : option.choices)
        known += (known.empty() ? "" : ", ") + choice;
      throw UsageError(fmt::format("--{} {}: not one of {}", option.name, value, known));
    }
  }
  struct Setter {
    const Option& option;
    const std::vector<std::string>& values;
    void operator()(bool* target) const { *target = parse_flag(option, values[0]); }
    void operator()(std::int64_t* target) const {
      set_number(option, *target, values[0], "an integer");
    }
    void operator()(double* target) const { set_number(option, *target, values[0], "a number"); }
    void operator()(std::string* target) const { *target = values[0]; }
    void operator()(fs::path* target) const { *target = values[0]; }
    void operator()(std::vector<std::string>* target) const { *target = values; }
    void operator()(const EnumTarget& target) const { target.set(target.value, values[0]); }
  };
  std::visit(Setter{option, values}, option.target);
}

std::string value_text(const Option& option) {
  struct Getter {
    std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
    std::string operator()(const std::int64_t* value) const { return std::to_string(*value); }
    std::string operator()(const double* value) const { return fmt::format("{}", *value); }
    std::string operator()(const std::string* value) const { return *value; }
    std::string operator()(const fs::path* value) const { return value->string(); }
    std::string operator()(const std::vector<std::string>* value) const {
      return fmt::format("{}", fmt::join(*value, " "));
    }
    std::string operator()(const EnumTarget& target) const {
      return std::string(target.name(target.value));
    }
  };
  return std::visit(Getter{}, option.target);
}

void check_ranges(const OptionSet& options) {
  for (const Option& option : options.options()) {
    if (const auto* integer = std::get_if<std::int64_t*>(&option.target)) {
      check_range(option, **integer);
    } else if (const auto* number = std::get_if<double*>(&option.target)) {
      check_range(option, **number);
    }
  }
}

void require_given(const OptionSet& options) {
  for (const Option& option : options.options()) {
    if (!option.required || option.given) continue;
    throw UsageError(
        fmt::format("{} is missing", option.positional ? option.name : "--" + option.name),
        "see --help");
  }
}

void apply_config_file(const fs::path& file, OptionSet& options) {
  const YAML::Node root = load_yaml(file);
  if (root.IsNull()) return;
  if (!root.IsMap())
    throw UsageError(fmt::format("{}: not a list of option: value", file.string()));
  apply_yaml(root, file, options);
}

YAML::Node load_yaml(const fs::path& file) {
  try {
    return YAML::Load(read_file(file));
  } catch (const YAML::Exception& error) {
    throw UsageError(fmt::format("{}:{}: {}", file.string(), error.mark.line + 1, error.msg));
  }
}

std::string yaml_place(const fs::path& file, const YAML::Node& node) {
  return fmt::format("{}:{}", file.string(), node.Mark().line + 1);
}

std::vector<std::string> yaml_values(const YAML::Node& node, const std::string& where) {
  std::vector<std::string> values;
  if (node.IsScalar()) return {node.as<std::string>()};
  if (!node.IsSequence()) throw UsageError(where + " has no value");
  for (const auto& value : node) {
    if (!value.IsScalar()) throw UsageError(where + ": a list of plain values was expected");
    values.push_back(value.as<std::string>());
  }
  return values;
}

void apply_yaml(const YAML::Node& map, const fs::path& file, OptionSet& options,
                std::span<const std::string_view> others) {
  std::set<std::string> seen;
  for (const auto& entry : map) {
    const std::string where = yaml_place(file, entry.first);
    if (!entry.first.IsScalar()) throw UsageError(where + ": the name of an option was expected");
    const auto name = entry.first.as<std::string>();
    if (!seen.insert(name).second) throw UsageError(fmt::format("{}: {} again", where, name));
    if (std::find(others.begin(), others.end(), name) != others.end()) continue;
    Option* option = options.find(name);
    if (option == nullptr || name == "config") {
      std::vector<std::string> known(others.begin(), others.end());
      for (const Option& each : options.options()) known.push_back(each.name);
      const std::string near = nearest_name(name, known);
      throw UsageError(fmt::format("{}: unknown option {}", where, name),
                       near.empty() ? "" : fmt::format("did you mean {}?", near));
    }
    if (option->given) continue;
    const auto values = yaml_values(entry.second, fmt::format("{}: {}", where, name));
    try {
      set_value(*option, values);
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}", where, error.what()), error.hint());
    }
    option->given = true;
  }
}

std::string echo_config(const OptionSet& options) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const Option& option : options.options()) {
    if (option.name == "config") continue;
    // An empty default is not among the choices and could not be read back.
    if (!option.choices.empty() && value_text(option).empty()) continue;
    out << YAML::Key << option.name << YAML::Value;
    if (const auto* list = std::get_if<std::vector<std::string>*>(&option.target)) {
      out << YAML::Flow << **list;
    } else if (std::holds_alternative<std::string*>(option.target) ||
               std::holds_alternative<fs::path*>(option.target) ||
               std::holds_alternative<EnumTarget>(option.target)) {
      out << YAML::DoubleQuoted << value_text(option);
    } else {
      out << value_text(option);
    }
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string& each : known) {
    if (const std::size_t distance = edit_distance(name, each); distance < best_distance) {
      best_distance = distance;
      best = each;
    }
  }
  return best;
}

}  // namespace moebius

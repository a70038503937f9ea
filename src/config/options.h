// Options of a command. An option is named once: default, help text, allowed values, command line,
// YAML file and the echo that is saved all come from one declaration.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/context.h"
#include "base/enum_names.h"
#include "base/error.h"
#include "base/files.h"

namespace moebius {

/// An enum with names (base/enum_names.h), or an optional one, whose type is erased.
struct EnumTarget {
  void* value;
  void (*set)(void* value, std::string_view name);  ///< one of the names
  std::string_view (*name)(const void* value);      ///< empty for an optional without a value
};

/// Where an option's value is stored. A flag is a bool; a list may be given several values.
using OptionTarget = std::variant<bool*, std::int64_t*, double*, std::string*, fs::path*,
                                  std::vector<std::string>*, EnumTarget>;

/// Values that a number may take: `least` (left out where `open`) to `greatest`.
struct NumberRange {
  double least = -std::numeric_limits<double>::infinity();
  double greatest = std::numeric_limits<double>::infinity();
  bool open = false;

  bool contains(double value) const {
    return (open ? value > least : value >= least) && value <= greatest;
  }
};

/// The declaration of an option, which `OptionSet::add` makes and its methods and flags refine.
struct Option {
  std::string name;  ///< without dashes: "top-k"
  OptionTarget target;
  std::string help;
  std::vector<std::string> choices;  ///< empty: anything
  std::string group;                 ///< heading in the help; empty: "Options"
  NumberRange range;                 ///< of an integer or a number
  bool positional = false;
  bool required = false;
  bool negatable = false;  ///< a flag that is on by default: --no-NAME turns it off
  bool many = false;       ///< a list that takes several values after one mention
  bool given = false;      ///< set by whoever parsed it

  Option& at_least(double value) { return range = {.least = value}, *this; }
  Option& above(double value) { return range = {.least = value, .open = true}, *this; }
  /// In [least, greatest].
  Option& between(double least, double greatest) { return range = {least, greatest}, *this; }
  /// In (least, greatest].
  Option& above_up_to(double least, double greatest) {
    return range = {least, greatest, true}, *this;
  }
  /// Of an enum: these of its names alone.
  Option& one_of(std::vector<std::string> names) { return choices = std::move(names), *this; }
};

/// The options of one command.
class OptionSet {
 public:
  /// `target` keeps the default until a value is set, and must outlive this.
  template <class T>
  Option& add(std::string name, T& target, std::string help) {
    return add(Option{std::move(name), &target, std::move(help), {}, {}, {}});
  }
  template <NamedEnum E>
  Option& add(std::string name, E& target, std::string help) {
    return add_enum<E>(std::move(name), target, std::move(help));
  }
  template <NamedEnum E>
  Option& add(std::string name, std::optional<E>& target, std::string help) {
    return add_enum<E>(std::move(name), target, std::move(help));
  }
  template <class T>
  Option& choice(std::string name, T& target, std::string help, std::vector<std::string> choices) {
    return add(std::move(name), target, std::move(help)).one_of(std::move(choices));
  }
  template <class T>
  Option& positional(std::string name, T& target, std::string help) {
    Option& option = add(std::move(name), target, std::move(help));
    option.positional = option.required = true;
    return option;
  }
  /// Heading in the help of the options that are added from now on.
  void group(std::string heading) { group_ = std::move(heading); }

  std::vector<Option>& options() { return options_; }
  const std::vector<Option>& options() const { return options_; }
  Option* find(std::string_view name);
  bool given(std::string_view name) const;

 private:
  Option& add(Option option) {
    option.group = group_;
    return options_.emplace_back(std::move(option));
  }
  template <class E, class Target>
  Option& add_enum(std::string name, Target& target, std::string help) {
    const EnumTarget erased{&target,
                            [](void* value, std::string_view text) {
                              *static_cast<Target*>(value) = value_named<E>(text).value();
                            },
                            [](const void* value) {
                              const auto& held = *static_cast<const Target*>(value);
                              if constexpr (std::is_same_v<Target, E>)
                                return name_of(held);
                              else
                                return held ? name_of(*held) : std::string_view{};
                            }};
    std::vector<std::string> names;
    for (const std::string_view each : names_of(E{})) names.emplace_back(each);
    return add(Option{std::move(name), erased, std::move(help), std::move(names), {}, {}});
  }

  std::vector<Option> options_;
  std::string group_;
};

/// Options that every command has.
struct CommonOptions {
  fs::path config;
  std::int64_t threads = 0;  ///< 0: as many as there are processors
  std::string device = "cpu";
  std::int64_t seed = 0;
  LogLevel log_level = LogLevel::info;
  bool overwrite = false;
  bool json = false;

  void declare(OptionSet& options);
};

/// Sets from FILE.yaml every option that the command line did not give. Throws UsageError naming
/// the file and line on an unknown or repeated key, or a value of the wrong type or out of range.
void apply_config_file(const fs::path& file, OptionSet& options);

/// Every option with its value, in YAML: what `--config` reads back.
std::string echo_config(const OptionSet& options);

/// The value of an option as text, as the echo writes it.
std::string value_text(const Option& option);

/// Parses `values` into the option's target; throws UsageError naming the option unless they have
/// its type and are among its choices and in its range.
void set_value(Option& option, const std::vector<std::string>& values);

/// Throws UsageError as `set_value` does if the value that an option's target holds is out of
/// range.
void check_ranges(const OptionSet& options);
/// The same for the declared options of a job, which code may have filled instead of a command
/// line.
template <class Options>
void check_ranges_of(Options options) {
  OptionSet set;
  options.declare(set);
  check_ranges(set);
}

/// Throws UsageError naming the first required option that was not given.
void require_given(const OptionSet& options);

/// The known name nearest to `name` by edit distance, or nothing if none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace moebius

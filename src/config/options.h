// An option is named once: default, help text, command line, YAML file and the echo that is saved
// all come from one declaration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/files.h"

namespace moebius {

/// Where an option's value is stored. A flag is a bool; a list may be given several values.
using OptionTarget =
    std::variant<bool*, std::int64_t*, double*, std::string*, fs::path*, std::vector<std::string>*>;

struct Option {
  std::string name;  ///< without dashes: "top-k"
  OptionTarget target;
  std::string help;
  std::vector<std::string> choices;  ///< empty: anything
  bool positional = false;
  bool required = false;
  bool negatable = false;  ///< a flag that is on by default: --no-NAME turns it off
  bool many = false;       ///< a list that takes several values after one mention
  bool given = false;      ///< set by whoever parsed it
};

/// The options of one command.
class OptionSet {
 public:
  template <class T>
  Option& add(std::string name, T& target, std::string help) {
    options_.push_back({std::move(name), &target, std::move(help), {}});
    return options_.back();
  }
  template <class T>
  Option& choice(std::string name, T& target, std::string help, std::vector<std::string> choices) {
    options_.push_back({std::move(name), &target, std::move(help), std::move(choices)});
    return options_.back();
  }
  template <class T>
  void positional(std::string name, T& target, std::string help) {
    Option& option = add(std::move(name), target, std::move(help));
    option.positional = option.required = true;
  }

  std::vector<Option>& options() { return options_; }
  const std::vector<Option>& options() const { return options_; }
  Option* find(std::string_view name);
  bool given(std::string_view name) const;

 private:
  std::vector<Option> options_;
};

/// Options that every command has.
struct CommonOptions {
  fs::path config;
  std::int64_t threads = 0;  ///< 0: as many as there are processors
  std::string device = "cpu";
  std::int64_t seed = 0;
  std::string log_level = "info";
  bool overwrite = false;
  bool json = false;

  void declare(OptionSet& options);
};

/// Sets from FILE.yaml every option that the command line did not give. Throws UsageError naming
/// the file and line on an unknown or repeated key, or a value of the wrong type.
void apply_config_file(const fs::path& file, OptionSet& options);

/// Every option with its value, in YAML: what `--config` reads back.
std::string echo_config(const OptionSet& options);

/// The value of an option as text, as the echo writes it.
std::string value_text(const Option& option);

/// Parses `text` into the option's target; throws UsageError naming the option.
void set_value(Option& option, const std::vector<std::string>& values);

/// The known name nearest to `name` by edit distance, or nothing if none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace moebius

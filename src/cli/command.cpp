#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

namespace moebius::cli {
namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "written from a signal handler");

constexpr const char* default_group = "Options";

/// The first signal asks for an orderly end; a second one ends the program at once.
void on_signal(int signal) {
  if (stop_signal.exchange(signal) != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

std::string help_of(const Option& option) {
  std::string help = option.help;
  if (!option.choices.empty()) help += fmt::format(" {{{}}}", fmt::join(option.choices, "|"));
  const std::string value = value_text(option);
  const bool flag = std::holds_alternative<bool*>(option.target);
  if (option.required) {
    help += option.positional ? "" : " (required)";
  } else if (!flag && !value.empty() && help.find("default") == std::string::npos) {
    help += " [" + value + "]";
  }
  return help;
}

CLI::Option* declare(CLI::App& app, const Option& option, std::vector<std::string>& storage) {
  const std::string dashed = option.positional      ? option.name
                             : option.name == "out" ? "-o,--out"
                                                    : "--" + option.name;
  if (std::holds_alternative<bool*>(option.target)) {
    return app.add_flag(option.negatable ? dashed + ",!--no-" + option.name : dashed, option.help)
        ->group(option.group.empty() ? default_group : option.group);
  }
  CLI::Option* declared = app.add_option(dashed, storage, help_of(option));
  const bool list = std::holds_alternative<std::vector<std::string>*>(option.target);
  declared->expected(1, list && option.many ? CLI::detail::expected_max_vector_size : 1);
  declared->allow_extra_args(list && option.many);
  if (list) {
    declared->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  } else {
    declared->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  }
  declared->type_name("");
  if (!option.positional) declared->group(option.group.empty() ? default_group : option.group);
  return declared;
}

[[noreturn]] void fail_unknown(const std::string& extra, const OptionSet& options) {
  std::vector<std::string> known;
  for (const Option& option : options.options()) {
    if (!option.positional) known.push_back("--" + option.name);
  }
  const std::string name = extra.substr(0, extra.find('='));
  const std::string near = extra.starts_with("-") ? nearest_name(name, known) : "";
  throw UsageError(extra.starts_with("-") ? fmt::format("unknown option {}", name)
                                          : fmt::format("unexpected argument {}", extra),
                   near.empty() ? "see --help" : fmt::format("did you mean {}?", near));
}

void parse_arguments(const Command& command, Arguments arguments, OptionSet& options) {
  CLI::App app(command.summary, "moebius " + command.name);
  app.allow_extras();
  app.set_help_flag();  // added again at the end, to the group of the common options
  std::vector<std::vector<std::string>> storage(options.options().size());
  std::vector<CLI::Option*> declared;
  for (std::size_t i = 0; i < options.options().size(); ++i) {
    declared.push_back(declare(app, options.options()[i], storage[i]));
  }
  app.set_help_flag("-h,--help", "print this help")->group(options.options().back().group);
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    throw Exit{0};
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what(), "see --help");
  }
  if (const auto extras = app.remaining(); !extras.empty()) fail_unknown(extras[0], options);
  for (std::size_t i = 0; i < declared.size(); ++i) {
    Option& option = options.options()[i];
    if (declared[i]->count() == 0) continue;
    if (std::holds_alternative<bool*>(option.target)) {
      set_value(option, {declared[i]->as<bool>() ? "true" : "false"});
    } else {
      set_value(option, storage[i]);
    }
    option.given = true;
  }
}

}  // namespace

void parse(const Command& command, const Arguments& arguments, OptionSet& options,
           CommonOptions& common) {
  common.declare(options);
  parse_arguments(command, arguments, options);
  if (!common.config.empty()) apply_config_file(common.config, options);
  require_given(options);
  check_device_name(common.device);
}

Context make_context(const CommonOptions& common) {
  Context ctx;
  ctx.log = Log(common.log_level);
  ctx.threads = common.threads > 0
                    ? static_cast<int>(common.threads)
                    : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  ctx.seed = static_cast<std::uint64_t>(common.seed);
  ctx.stop_signal = &stop_signal;
  ctx.device = common.device;
  return ctx;
}

StopSignals::StopSignals()
    : interrupt_(std::signal(SIGINT, on_signal)), terminate_(std::signal(SIGTERM, on_signal)) {}

StopSignals::~StopSignals() {
  std::signal(SIGINT, interrupt_);
  std::signal(SIGTERM, terminate_);
  forget_stop_signal();
}

void forget_stop_signal() {
  stop_signal = 0;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    fail("cannot write to standard output");
  }
}

void print_json(const Json& json) {
  print(json.dump() + "\n");
}

}  // namespace moebius::cli

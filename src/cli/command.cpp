#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "model/runtime.h"

namespace moebius::cli {
namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "written from a signal handler");

/// The first signal asks for an orderly end; a second one ends the program at once.
void on_signal(int signal) {
  if (stop_signal.exchange(signal) != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

std::string help_of(const Option& option) {
  std::string help = option.help;
  if (!option.choices.empty()) {
    help += " {";
    for (const std::string& choice : option.choices) {
      help += (help.back() == '{' ? "" : "|") + choice;
    }
    help += "}";
  }
  const std::string value = value_text(option);
  const bool flag = std::holds_alternative<bool*>(option.target);
  if (!flag && !value.empty() && help.find("default") == std::string::npos) {
    help += " [" + value + "]";
  }
  return help;
}

CLI::Option* declare(CLI::App& app, const Option& option, std::vector<std::string>& storage) {
  const std::string dashed = option.positional      ? option.name
                             : option.name == "out" ? "-o,--out"
                                                    : "--" + option.name;
  if (std::holds_alternative<bool*>(option.target)) {
    return app.add_flag(option.negatable ? dashed + ",!--no-" + option.name : dashed, option.help);
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

void parse(const Command& command, std::vector<std::string> arguments, OptionSet& options) {
  CLI::App app(command.summary, "moebius " + command.name);
  app.allow_extras();
  std::vector<std::vector<std::string>> storage(options.options().size());
  std::vector<CLI::Option*> declared;
  for (std::size_t i = 0; i < options.options().size(); ++i) {
    declared.push_back(declare(app, options.options()[i], storage[i]));
  }
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    throw HelpShown{};
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

Context begin(const Command& command, const std::vector<std::string>& arguments, OptionSet& options,
              CommonOptions& common) {
  common.declare(options);
  parse(command, arguments, options);
  if (!common.config.empty()) apply_config_file(common.config, options);
  for (const Option& option : options.options()) {
    if (option.required && !option.given) {
      throw UsageError(
          fmt::format("{} is missing", option.positional ? option.name : "--" + option.name),
          "see --help");
    }
  }
  if (common.threads < 0) throw UsageError("--threads: not a positive number");
  Context ctx;
  ctx.log = Log(parse_log_level(common.log_level));
  ctx.threads = common.threads > 0
                    ? static_cast<int>(common.threads)
                    : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  ctx.seed = static_cast<std::uint64_t>(common.seed);
  ctx.stop_signal = &stop_signal;
  ctx.device = common.device;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  init_runtime(ctx);
  return ctx;
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

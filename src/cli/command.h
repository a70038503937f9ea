// What every command shares: options parsed from one declaration, the context, the result.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "config/options.h"

namespace moebius::cli {

/// What follows the name of a command on the command line.
using Arguments = std::vector<std::string>;

/// A row of the table of commands (cli/commands.h).
struct Command {
  std::string name;  ///< may be two words, as "data synth"
  std::string summary;
  void (*run)(const Command& self, const Arguments& arguments);
};

/// Ends a command early: help was printed, or the library has done and reported everything.
struct Exit {
  int code;
};

/// Declares the common options beside the others; sets all from `arguments` and the `--config`
/// file. Throws UsageError, or Exit after `--help`.
void parse(const Command& command, const Arguments& arguments, OptionSet& options,
           CommonOptions& common);

/// The context that the common options describe. Its stop signal is what `StopSignals` sets.
Context make_context(const CommonOptions& common);

/// While it lives, SIGINT and SIGTERM ask the job to stop; a second signal ends the program. One at
/// a time in a process.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  using Handler = void (*)(int);
  Handler interrupt_, terminate_;  ///< that were set before
};

/// What a command line says: `job` is the options struct of a command, with a member
/// `declare(OptionSet&)`, and where it has `overwrite` and `config_echo`, these are set too; its
/// `check()`, where there is one, throws UsageError for options that exclude each other.
template <class Job>
struct ParsedOptions {
  /// Throws as `parse`.
  ParsedOptions(const Command& command, const Arguments& arguments) {
    job.declare(options);
    parse(command, arguments, options, common);
    if constexpr (requires { job.check(); }) job.check();
    if constexpr (requires { job.overwrite; }) job.overwrite = common.overwrite;
    if constexpr (requires { job.config_echo; }) job.config_echo = echo_config(options);
    if constexpr (requires { job.loop.config_echo; }) job.loop.config_echo = echo_config(options);
  }
  ParsedOptions(const ParsedOptions&) = delete;
  ParsedOptions& operator=(const ParsedOptions&) = delete;

  Job job;
  CommonOptions common;
  OptionSet options;  ///< points into the two
};

/// The beginning of every command: its options and its context.
template <class Job>
struct Invocation : ParsedOptions<Job> {
  /// Throws as `parse`.
  Invocation(const Command& command, const Arguments& arguments)
      : ParsedOptions<Job>(command, arguments), ctx(make_context(this->common)) {}

  const StopSignals signals;
  const Context ctx;
};

/// Lets the program go on after a signal that asked it to stop.
void forget_stop_signal();

/// Writes to stdout; throws Error if that fails (a full disk, for example).
void print(std::string_view text);
/// One JSON object and a newline on stdout.
void print_json(const Json& json);

}  // namespace moebius::cli

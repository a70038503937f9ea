// What libmoebius.so exports.
#pragma once

/// Runs a command as the program does and gives its exit code. `arguments` are its name and
/// options, without the program's name. Results go to stdout, errors to stderr; no exception leaves
/// it. It handles SIGINT and SIGTERM while a command runs, so a process makes one call at a time.
extern "C" int moebius_run(int count, const char* const* arguments);

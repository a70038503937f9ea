#include "cli/program/load_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "cli/jobs/library.h"

namespace moebius::cli {
namespace {

constexpr const char* library_name = "libmoebius.so";  // in the program's folder, by its run path

/// OpenMP's threads wait for each other at the end of every parallel loop. By default they spin,
/// which takes processors from the kernels' threads and from other processes. The policy is read
/// when the library is loaded.
void let_openmp_threads_sleep() {
  ::setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
}

void* symbol_of_library(const char* name) {
  void* library = ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  void* symbol = library == nullptr ? nullptr : ::dlsym(library, name);
  if (symbol == nullptr) {
    throw Error(::dlerror(), std::string(library_name) + " belongs beside the program");
  }
  return symbol;
}

}  // namespace

void run_in_library(const Command& command, const Arguments& arguments) {
  let_openmp_threads_sleep();
  const auto run = reinterpret_cast<decltype(&moebius_run)>(symbol_of_library("moebius_run"));
  std::vector<const char*> all{command.name.c_str()};
  for (const std::string& argument : arguments) all.push_back(argument.c_str());
  throw Exit{run(static_cast<int>(all.size()), all.data())};
}

}  // namespace moebius::cli

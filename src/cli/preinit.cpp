// OpenMP's threads wait for each other at the end of every parallel loop. By default they spin
// there, which is a little faster on an idle machine and several times slower beside any other
// busy process: the thread waited for may not be running at all. The policy is read when the
// OpenMP library is loaded, before main, so it is set where only the dynamic linker has run.
#include <cstdlib>

namespace {

void prefer_sleeping_threads(int, char**, char**) {
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
}

}  // namespace

__attribute__((section(".preinit_array"),
               used)) static void (*const before_libraries)(int, char**,
                                                            char**) = prefer_sleeping_threads;

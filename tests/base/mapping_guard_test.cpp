#include "base/mapping_guard.h"

#include <sys/wait.h>

#include <csignal>
#include <functional>

#include "base/support.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::TempDir;

constexpr std::size_t length = 1 << 16;

/// Runs `body` in a process of its own, for what is lost stays lost; its verdict is returned.
bool in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    guard_mapped_files();
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

TEST(MappingGuard, AFileThatIsCutShortReadsAsZerosAndIsNamed) {
  const TempDir dir;
  const fs::path file = dir.write("weights", std::string(length, 'x'));
  EXPECT_TRUE(in_child([&]() -> bool {
    const auto mapped = MappedFile::open(file);
    check_mapped_files();
    fs::resize_file(file, length / 2);
    const auto bytes = mapped->bytes();
    const bool kept = bytes[length / 2 - 1] == std::byte{'x'};
    const bool zeros = bytes[length / 2] == std::byte{0} && bytes[length - 1] == std::byte{0};
    return kept && zeros && mentions(error_of(check_mapped_files), {file.string(), "shorter"});
  }));
}

TEST(MappingGuard, WritingFromAFileThatIsCutShortGoesOn) {
  const TempDir dir;
  const fs::path file = dir.write("weights", std::string(length, 'x'));
  EXPECT_TRUE(in_child([&]() -> bool {
    const auto mapped = MappedFile::open(file);
    fs::resize_file(file, 0);
    OutputFile(dir.path() / "copy").write_at(0, mapped->bytes());
    return read_file(dir.path() / "copy") == std::string(length, '\0') &&
           mentions(error_of(check_mapped_files), {file.string()});
  }));
}

TEST(MappingGuard, IsNamedAfterTheMappingIsGone) {
  const TempDir dir;
  const fs::path file = dir.write("weights", std::string(length, 'x'));
  EXPECT_TRUE(in_child([&]() -> bool {
    {
      const auto mapped = MappedFile::open(file);
      fs::resize_file(file, 0);
      if (mapped->bytes()[0] != std::byte{0}) return false;
    }
    return mentions(error_of(check_mapped_files), {file.string()});
  }));
}

TEST(MappingGuard, OtherBusErrorsEndTheProcess) {
  EXPECT_FALSE(in_child([] { return ::raise(SIGBUS) == 0; }));
  const int here = 0;
  EXPECT_FALSE(give_up_mapping_from(&here));
}

TEST(DirectoryState, NamesTheFileThatChanged) {
  const TempDir dir;
  const fs::path one = dir.write("one", "abc"), two = dir.write("two", "abc");
  dir.write(".hidden", "abc");
  const DirectoryState state(dir.path());
  dir.write("three", "new ones are nobody's source");
  dir.write(".hidden", "changed");
  state.check_unchanged();
  fs::last_write_time(two, fs::last_write_time(two) + std::chrono::seconds(1));
  EXPECT_TRUE(mentions(error_of([&] { state.check_unchanged(); }), {two.string(), "changed"}));
  const DirectoryState later(dir.path());
  fs::remove(one);
  EXPECT_TRUE(mentions(error_of([&] { later.check_unchanged(); }), {one.string(), "changed"}));
}

}  // namespace
}  // namespace moebius

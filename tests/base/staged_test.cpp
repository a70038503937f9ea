#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/staged.h"
#include "base/support.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::names_in;
using support::TempDir;
using Names = std::vector<std::string>;

TEST(StagedDirectory, NothingStandsUnderTheFinalNameBeforeCommit) {
  const TempDir dir;
  const fs::path out = dir.path() / "new" / "out";
  StagedDirectory staged(out, false);
  OutputFile(staged.path() / "config.json").append("{}");
  fs::create_directory(staged.path() / "sub");
  OutputFile(staged.path() / "sub" / "x").append("y");
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(staged.path().parent_path(), out.parent_path());  // so that a rename is enough
  staged.commit();
  EXPECT_EQ(read_file(out / "sub" / "x"), "y");
  EXPECT_EQ(names_in(out.parent_path()), Names{"out"});
}

TEST(StagedDirectory, DestructionWithoutCommitRemovesWhatItHadBegun) {
  const TempDir dir;
  {
    const StagedDirectory staged(dir.path() / "out", false);
    OutputFile(staged.path() / "config.json").append("{}");
  }
  EXPECT_EQ(names_in(dir.path()), Names{});
}

TEST(StagedDirectory, ATrailingSlashNamesTheSameDirectory) {
  const TempDir dir;
  StagedDirectory staged(dir.path() / "out" / "", false);
  staged.commit();
  EXPECT_EQ(names_in(dir.path()), Names{"out"});
}

TEST(StagedDirectory, RemovesWhatAKilledProcessLeftBehind) {
  const TempDir dir;
  const fs::path out = dir.path() / "out";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto* staged = new StagedDirectory(out, false);
    OutputFile(staged->path() / "half").append("x");
    ::_exit(0);  // as kill -9: no destructor runs
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_EQ(names_in(dir.path()).size(), 1u) << "the child was to leave its stage behind";
  StagedDirectory staged(out, false);
  EXPECT_EQ(names_in(dir.path()), Names{staged.path().filename().string()});
  EXPECT_TRUE(fs::is_empty(staged.path()));
}

TEST(StagedDirectory, KeepsTheStageOfALiveProcessAndOfOtherNames) {
  const TempDir dir;
  fs::create_directory(dir.path() / ".out.partial-1");
  fs::create_directory(dir.path() / ".outer.partial-1");
  const int lock = ::open((dir.path() / ".out.partial-1").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  { const StagedDirectory staged(dir.path() / "out", false); }
  EXPECT_EQ(names_in(dir.path()), (Names{".out.partial-1", ".outer.partial-1"}));
  ::close(lock);
}

TEST(StagedDirectory, AnExistingOutputNeedsOverwrite) {
  const TempDir dir;
  const fs::path out = dir.path() / "out";
  fs::create_directory(out);
  EXPECT_TRUE(mentions(error_of([&] { StagedDirectory staged(out, false); }),
                       {out.string(), "already exists", "--overwrite"}));
  EXPECT_EQ(names_in(dir.path()), Names{"out"});
}

TEST(StagedDirectory, OverwriteReplacesTheWholeOutputAtCommit) {
  const TempDir dir;
  const fs::path out = dir.path() / "out";
  fs::create_directory(out);
  OutputFile(out / "config.json").append("old");
  OutputFile(out / "stale").append("old");
  {
    StagedDirectory staged(out, true);
    OutputFile(staged.path() / "config.json").append("new");
    EXPECT_EQ(read_file(out / "config.json"), "old");
    staged.commit();
  }
  EXPECT_EQ(read_file(out / "config.json"), "new");
  EXPECT_EQ(names_in(out), Names{"config.json"});
  EXPECT_EQ(names_in(dir.path()), Names{"out"});
}

TEST(StagedDirectory, OverwriteThatFailsKeepsTheOldOutput) {
  const TempDir dir;
  const fs::path out = dir.path() / "out";
  fs::create_directory(out);
  OutputFile(out / "config.json").append("old");
  { const StagedDirectory staged(out, true); }
  EXPECT_EQ(read_file(out / "config.json"), "old");
  EXPECT_EQ(names_in(dir.path()), Names{"out"});
}

TEST(StagedDirectory, NeverReplacesAForeignDirectoryOrAFile) {
  const TempDir dir;
  const fs::path home = dir.path() / "home";
  fs::create_directory(home);
  OutputFile(home / "letters.txt").append("dear");
  const fs::path file = dir.write("file", "text");
  for (const fs::path& foreign : {home, file}) {
    EXPECT_TRUE(mentions(error_of([&] { StagedDirectory staged(foreign, true); }),
                         {foreign.string(), "not an output of moebius"}));
    EXPECT_TRUE(mentions(error_of([&] { check_output_directory(foreign, true); }),
                         {foreign.string(), "not an output of moebius"}));
  }
  EXPECT_EQ(names_in(dir.path()), (Names{"file", "home"}));
}

}  // namespace
}  // namespace moebius

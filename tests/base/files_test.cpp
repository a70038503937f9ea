#include "base/files.h"

#include "base/staged.h"
#include "base/support.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::names_in;
using support::TempDir;

TEST(ReadFile, GivesEveryByteUpToTheLimit) {
  const TempDir dir;
  std::string bytes(100'000, 'x');
  bytes[70'000] = '\0';
  const fs::path file = dir.write("a.bin", bytes);
  EXPECT_EQ(read_file(file), bytes);
  EXPECT_EQ(read_file(file, bytes.size()), bytes);
  EXPECT_TRUE(mentions(error_of([&] { read_file(file, bytes.size() - 1); }),
                       {file.string(), "larger than 99999 bytes"}));
  EXPECT_EQ(read_file(dir.write("empty", "")), "");
}

TEST(ReadFile, NamesWhatItCannotRead) {
  const TempDir dir;
  const fs::path absent = dir.path() / "absent";
  EXPECT_TRUE(mentions(error_of([&] { read_file(absent); }), {absent.string(), "cannot open"}));
  EXPECT_TRUE(
      mentions(error_of([&] { read_file(dir.path()); }), {dir.path().string(), "is a directory"}));
}

TEST(MappedFile, ShowsTheBytesAndOutlivesTheName) {
  const TempDir dir;
  const fs::path file = dir.write("a.bin", "hello");
  const auto mapped = MappedFile::open(file);
  fs::remove(file);
  ASSERT_EQ(mapped->bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(mapped->bytes()[4]), 'o');
  EXPECT_EQ(mapped->path(), file);
}

TEST(MappedFile, AnEmptyFileMapsToNoBytes) {
  const TempDir dir;
  EXPECT_TRUE(MappedFile::open(dir.write("empty", ""))->bytes().empty());
}

TEST(MappedFile, NamesWhatItCannotMap) {
  const TempDir dir;
  const fs::path absent = dir.path() / "absent";
  EXPECT_TRUE(mentions(error_of([&] { MappedFile::open(absent); }), {absent.string()}));
  EXPECT_TRUE(mentions(error_of([&] { MappedFile::open(dir.path()); }),
                       {dir.path().string(), "not a regular file"}));
}

TEST(OutputFile, TruncatesOrAppendsAndWritesAnywhere) {
  const TempDir dir;
  const fs::path file = dir.write("log", "old");
  OutputFile(file, OutputFile::Mode::append).append(" new");
  EXPECT_EQ(read_file(file), "old new");
  {
    OutputFile out(file);
    const std::string tail = "cd", head = "ab";
    out.write_at(2, std::as_bytes(std::span(tail)));
    out.write_at(0, std::as_bytes(std::span(head)));
    out.sync();
  }
  EXPECT_EQ(read_file(file), "abcd");
}

TEST(OutputFile, NamesWhatItCannotCreate) {
  const TempDir dir;
  const fs::path file = dir.path() / "no" / "such" / "file";
  EXPECT_TRUE(mentions(error_of([&] { OutputFile out(file); }), {file.string(), "cannot create"}));
}

TEST(OutputFile, AFullDiskIsAnErrorWithAHint) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  OutputFile out("/dev/full");
  EXPECT_TRUE(mentions(error_of([&] { out.append("x"); }), {"/dev/full", "cannot write", "space"}));
}

TEST(WriteFileAtomically, ReplacesAndLeavesNothingBeside) {
  const TempDir dir;
  const fs::path file = dir.write("latest", "before");
  write_file_atomically(file, "after");
  EXPECT_EQ(read_file(file), "after");
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"latest"});
}

TEST(WriteFileAtomically, AFailureKeepsWhatStoodThereAndCleansUp) {
  const TempDir dir;
  fs::create_directory(dir.path() / "taken");
  dir.write("taken/inside", "x");
  const fs::path taken = dir.path() / "taken";  // a file can't be renamed over a directory
  EXPECT_TRUE(mentions(error_of([&] { write_file_atomically(taken, "y"); }), {taken.string()}));
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"taken"});
  EXPECT_EQ(read_file(taken / "inside"), "x");
}

TEST(CheckFreeSpace, RefusesMoreThanAnyDiskHas) {
  const TempDir dir;
  EXPECT_NO_THROW(check_free_space(dir.path(), 1));
  EXPECT_TRUE(mentions(error_of([&] { check_free_space(dir.path(), SIZE_MAX); }),
                       {dir.path().string(), "are needed", "are free"}));
}

}  // namespace
}  // namespace moebius

// What is believed of a zip archive's directory, and every lie that must not be.
#include "checkpoint/zip.h"

#include "checkpoint/raw_zip.h"

namespace moebius {
namespace {

using support::error_of;
using support::le;
using support::mentions;
using support::raw_zip;
using support::raw_zip64_end;
using support::RawEnd;
using support::RawEntry;
using support::TempDir;

class Zip : public ::testing::Test {
 protected:
  std::string error(const std::string& bytes) {
    const auto file = MappedFile::open(dir_.write("a.zip", bytes));
    const std::string message = error_of([&] { read_zip(*file); });
    if (message != "no error") {
      EXPECT_TRUE(mentions(message, {"a.zip"}));
    }
    return message;
  }
  std::string error(const std::vector<RawEntry>& entries,
                    const std::function<void(RawEnd&)>& change = {}) {
    return error(raw_zip(entries, change));
  }
  std::string text(const ZipEntries& entries, std::string_view name) {
    const auto bytes = entries.at(name).bytes;
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  TempDir dir_;
};

TEST_F(Zip, FindsEveryEntry) {
  const auto file = MappedFile::open(
      dir_.write("a.zip", raw_zip({{"r/a", "first"}, {"r/empty", ""}, {"r/b", "second"}},
                                  [](RawEnd& end) { end.comment = "PK\x05\x06 a comment"; })));
  const ZipEntries entries = read_zip(*file);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(text(entries, "r/a"), "first");
  EXPECT_EQ(text(entries, "r/b"), "second");
  EXPECT_EQ(text(entries, "r/empty"), "");
}

TEST_F(Zip, ValuesOf64BitsAreFollowed) {
  RawEntry entry{"r/a", "first"};
  entry.size = entry.compressed = entry.offset = 0xFFFFFFFF;
  entry.extra = le<std::uint16_t>(9) + le<std::uint16_t>(2) + "xy" + le<std::uint16_t>(1) +
                le<std::uint16_t>(24) + le<std::uint64_t>(5) + le<std::uint64_t>(5) +
                le<std::uint64_t>(0);
  const std::string bytes = raw_zip({entry}, [](RawEnd& end) {
    end.before = raw_zip64_end(end.entries, end.size, end.offset, end.offset + end.size);
    end.entries = 0xFFFF;
    end.size = end.offset = 0xFFFFFFFF;
  });
  const auto file = MappedFile::open(dir_.write("a.zip", bytes));
  EXPECT_EQ(text(read_zip(*file), "r/a"), "first");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_NE(error(bytes.substr(0, size)), "no error") << size;
  }
}

TEST_F(Zip, CompressedEntriesAreMarked) {
  RawEntry entry{"r/a", "1234"};
  entry.method = 8;
  entry.size = 99;
  const auto file = MappedFile::open(dir_.write("a.zip", raw_zip({entry, {"r/b", "x"}})));
  const ZipEntries entries = read_zip(*file);
  EXPECT_TRUE(entries.at("r/a").compressed);
  EXPECT_EQ(text(entries, "r/a"), "1234");
  EXPECT_FALSE(entries.at("r/b").compressed);
}

TEST_F(Zip, AFileCutAnywhereIsAnError) {
  const std::string whole = raw_zip({{"r/a", "first"}, {"r/b", "second"}});
  ASSERT_EQ(error(whole), "no error");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_NE(error(whole.substr(0, size)), "no error") << size << " of " << whole.size();
  }
}

TEST_F(Zip, EveryFlippedByteIsAnErrorOrAnotherNameOrDatum) {
  const std::string whole = raw_zip({{"r/a", "first"}, {"r/b", "second"}});
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      error(bytes);  // must return: sanitizers watch what is read
    }
  }
}

TEST_F(Zip, WhatTorchNeverWritesIsNamed) {
  RawEntry entry{"r/a", "12345678"};
  entry.flags = 1;
  EXPECT_TRUE(mentions(error({entry}), {"r/a", "encrypted"}));
  EXPECT_TRUE(mentions(error({{"r/a", "x"}, {"r/a", "y"}}), {"r/a", "twice"}));
  EXPECT_TRUE(mentions(error({{"r/a", "x"}}, [](RawEnd& end) { end.disk = 1; }), {"several"}));
}

TEST_F(Zip, SizesAndPlacesThatLieAreErrors) {
  const auto with = [&](auto change) {
    RawEntry entry{"r/b", "12345678"};
    change(entry);
    return error({{"r/a", "x"}, entry});
  };
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.size = 4; }), {"r/b", "two sizes"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.size = e.compressed = 9; }), {"r/b", "outside"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.size = e.compressed = 0xFFFFFFFE; }), {"outside"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.size = e.compressed = 0xFFFFFFFF; }), {"outside"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.offset = 0; }), {"r/b", "another name"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.offset = 3; }), {"r/b", "not where"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.offset = 0xFFFFFFFE; }), {"outside"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.local_name = "r/x"; }), {"another name"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) { e.extra = "\x01"; }), {"no error"}));
  EXPECT_TRUE(
      mentions(with([](RawEntry& e) { e.extra = le<std::uint32_t>(0x90001); }), {"malformed"}));
  EXPECT_TRUE(mentions(with([](RawEntry& e) {
                         e.offset = 0xFFFFFFFF;
                         e.extra = le<std::uint32_t>(0x00001);
                       }),
                       {"lacks a size"}));
}

TEST_F(Zip, EntriesOverEachOtherAreErrors) {
  const std::string inner = raw_zip({{"r/b", "second"}});
  RawEntry outer{"r/a", inner.substr(0, 30 + 3 + 6)};
  RawEntry hidden{"r/b", "second"};
  hidden.offset = 30 + 3;  // inside the data of r/a
  EXPECT_TRUE(mentions(error({outer, hidden}), {"lies over another"}));
}

TEST_F(Zip, AnEndThatLiesIsAnError) {
  const auto with = [&](auto change) { return error({{"r/a", "x"}, {"r/b", "y"}}, change); };
  EXPECT_TRUE(mentions(with([](RawEnd& e) { e.entries = 0xFFFF; }), {"do not fit"}));
  EXPECT_NE(with([](RawEnd& e) { e.size -= 46; }), "no error");
  EXPECT_NE(with([](RawEnd& e) { e.offset += 1; }), "no error");
  EXPECT_TRUE(mentions(with([](RawEnd& e) { e.offset = 0xFFFFFFFF; }), {"outside"}));
  for (const std::uint64_t at : {std::uint64_t{0}, std::uint64_t{1} << 63, UINT64_MAX}) {
    EXPECT_TRUE(mentions(
        with([&](RawEnd& e) { e.before = raw_zip64_end(2, e.size, e.offset, at); }), {"zip64"}));
    EXPECT_NE(with([&](RawEnd& e) {
                e.before = raw_zip64_end(2, at == 0 ? 1 : at, at, e.offset + e.size);
              }),
              "no error");
  }
  EXPECT_TRUE(mentions(with([](RawEnd& e) {
                         e.before = raw_zip64_end(UINT64_MAX, e.size, e.offset, e.offset + e.size);
                       }),
                       {"do not fit"}));
}

}  // namespace
}  // namespace moebius

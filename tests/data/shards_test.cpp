#include "data/shards.h"

#include <gtest/gtest.h>

#include "base/support.h"

namespace moebius {
namespace {

using Ids = std::vector<std::int32_t>;

class ShardsTest : public ::testing::Test {
 protected:
  template <class Action>
  std::string error(Action&& action) {
    return support::message_of(directory_.path(), action);
  }
  std::string open_error(std::string_view bytes) {
    const fs::path file = directory_.write("bad.tok", bytes);
    return error([&] { TokenShard::open(file); });
  }
  fs::path path(const char* name) { return directory_.path() / name; }
  support::TempDir directory_;
};

const std::string digest = "0123456789abcdef0123456789abcdef";

/// The bytes of a shard with everything in the header at the caller's will.
std::string shard_bytes(std::string_view magic, std::uint32_t vocab, std::uint32_t width,
                        std::uint64_t count, std::string_view body) {
  std::string bytes(magic);
  bytes.append(reinterpret_cast<const char*>(&vocab), sizeof vocab);
  bytes.append(reinterpret_cast<const char*>(&width), sizeof width);
  bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
  bytes.append(digest);
  return bytes.append(body);
}

TEST_F(ShardsTest, RoundTripsAtBothWidths) {
  const Ids ids{0, 1, 255, 256, 65535, 7};
  for (const std::int32_t vocab : {65536, 65537, 2'000'000'000}) {
    write_token_shard(path("a.tok"), ids, vocab, digest);
    EXPECT_EQ(fs::file_size(path("a.tok")), 56 + ids.size() * (vocab == 65536 ? 2 : 4));
    const TokenShard shard = TokenShard::open(path("a.tok"));
    EXPECT_EQ(shard.vocab_size(), vocab);
    ASSERT_EQ(shard.size(), ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(shard[i], ids[i]);
    Ids part(4);
    shard.copy(2, part);
    EXPECT_EQ(part, Ids(ids.begin() + 2, ids.end()));
  }
}

TEST_F(ShardsTest, LayoutIsFixed) {
  write_token_shard(path("a.tok"), Ids{1, 258}, 300, digest);
  EXPECT_EQ(read_file(path("a.tok")),
            shard_bytes("MOEBTOK2", 300, 2, 2, std::string_view("\1\0\2\1", 4)));
}

TEST_F(ShardsTest, WriterRefusesWhatCannotBeRead) {
  const auto write = [&](const Ids& ids, std::int32_t vocab) {
    return error([&] { write_token_shard(path("a.tok"), ids, vocab, digest); });
  };
  EXPECT_EQ(write({}, 10), "a.tok: no tokens to write");
  EXPECT_EQ(write({1}, 0), "a.tok: the vocabulary size is 0, must be positive");
  EXPECT_EQ(write({1, 10}, 10), "a.tok: token 1 is 10, outside the vocabulary of 10");
  EXPECT_EQ(write({-1}, 10), "a.tok: token 0 is -1, outside the vocabulary of 10");
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

TEST_F(ShardsTest, HeaderIsChecked) {
  EXPECT_EQ(open_error("MOEBTOK2"), "bad.tok: 8 bytes, a token shard has at least 56");
  EXPECT_EQ(open_error(""), "bad.tok: 0 bytes, a token shard has at least 56");
  EXPECT_EQ(open_error(shard_bytes("MOEBTOKX", 9, 2, 1, "ab")),
            "bad.tok: not a token shard (it does not start with MOEBTOK2)");
  EXPECT_EQ(open_error(shard_bytes("MOEBTOK2", 0, 2, 1, "ab")),
            "bad.tok: impossible vocabulary size 0");
  EXPECT_EQ(open_error(shard_bytes("MOEBTOK2", 0x80000000u, 4, 1, "abcd")),
            "bad.tok: impossible vocabulary size 2147483648");
  EXPECT_EQ(open_error(shard_bytes("MOEBTOK2", 9, 4, 1, "abcd")),
            "bad.tok: 4 bytes per token, a vocabulary of 9 takes 2");
  EXPECT_EQ(open_error(shard_bytes("MOEBTOK2", 9, 2, 0, "")), "bad.tok: the shard is empty");
  EXPECT_EQ(open_error(shard_bytes("MOEBTOK1", 9, 2, 1, "ab")),
            "bad.tok: a token shard of an earlier version, without a digest");
  std::string spoilt = shard_bytes("MOEBTOK2", 9, 2, 1, "ab");
  spoilt[30] = '?';
  EXPECT_EQ(open_error(spoilt), "bad.tok: the header holds no digest");
}

TEST_F(ShardsTest, TheDigestOfItsSourceIsKept) {
  write_token_shard(path("a.tok"), Ids{1, 2}, 10, digest);
  EXPECT_EQ(TokenShard::open(path("a.tok")).source_digest(), digest);
  for (const char* text : {"", "0123", "0123456789ABCDEF0123456789abcdef"}) {
    EXPECT_TRUE(support::mentions(
        error([&] { write_token_shard(path("b.tok"), Ids{1}, 10, text); }), {"b.tok", "digest"}));
  }
}

TEST_F(ShardsTest, TruncatedOrExtendedFilesAreFound) {
  write_token_shard(path("a.tok"), Ids{1, 2, 3}, 10, digest);
  const std::string whole = read_file(path("a.tok"));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(open_error(whole.substr(0, size)), "no error") << size;
  }
  EXPECT_EQ(open_error(whole.substr(0, 60)),
            "bad.tok: 3 tokens of 2 bytes announced, 4 bytes follow the header");
  EXPECT_EQ(open_error(whole + "x"),
            "bad.tok: 3 tokens of 2 bytes announced, 7 bytes follow the header");
  // 2^63 + 1 tokens of two bytes: the product wraps round to the size of one.
  EXPECT_EQ(open_error(shard_bytes("MOEBTOK2", 9, 2, (std::uint64_t{1} << 63) + 1, "ab")),
            "bad.tok: 9223372036854775809 tokens of 2 bytes announced, 2 bytes follow the header");
}

TEST_F(ShardsTest, CopyFindsForeignIds) {
  directory_.write("a.tok", shard_bytes("MOEBTOK2", 9, 2, 2, std::string_view("\1\0\t\0", 4)));
  const TokenShard narrow = TokenShard::open(path("a.tok"));
  Ids one(1);
  narrow.copy(0, one);
  EXPECT_EQ(one, Ids{1});
  EXPECT_EQ(error([&] { narrow.copy(1, one); }),
            "a.tok: token 1 is 9, outside the vocabulary of 9");
  directory_.write("b.tok", shard_bytes("MOEBTOK2", 70000, 4, 1, "\xFE\xFF\xFF\xFF"));
  const TokenShard wide = TokenShard::open(path("b.tok"));
  EXPECT_EQ(error([&] { wide.copy(0, one); }),
            "b.tok: token 0 is -2, outside the vocabulary of 70000");
}

TEST_F(ShardsTest, CopyStaysInTheShard) {
  write_token_shard(path("a.tok"), Ids{1, 2, 3}, 10, digest);
  const TokenShard shard = TokenShard::open(path("a.tok"));
  Ids two(2);
  EXPECT_EQ(error([&] { shard.copy(2, two); }), "a.tok: tokens 2 to 4 wanted, it has 3");
  EXPECT_EQ(error([&] { shard.copy(static_cast<std::size_t>(-1), two); }),
            "a.tok: tokens 18446744073709551615 to 1 wanted, it has 3");
}

}  // namespace
}  // namespace moebius

#include "infer/text/stop_filter.h"

#include <gtest/gtest.h>

namespace moebius {
namespace {

/// What comes through when `text` arrives in pieces of `size` bytes.
std::string filtered(const std::vector<std::string>& stops, const std::string& text,
                     std::size_t size) {
  StopFilter filter(stops);
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += size) out += filter.push(text.substr(at, size));
  return out + filter.finish();
}

TEST(StopFilter, WithoutStopsEverythingPassesAtOnce) {
  StopFilter filter({});
  EXPECT_EQ(filter.push("abc"), "abc");
  EXPECT_EQ(filter.finish(), "");
  StopFilter empty({""});  // no stop at all
  EXPECT_EQ(empty.push("abc"), "abc");
  EXPECT_FALSE(empty.stopped());
}

TEST(StopFilter, AStopAcrossPiecesIsFound) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("one E"), "one ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("D two"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("three"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, WhatOnlyBeganAsAStopComesLater) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("EN"), "");
  EXPECT_EQ(filter.push("E"), "EN");
  EXPECT_EQ(filter.push("x"), "Ex");
  EXPECT_EQ(filter.push("yE"), "y");
  EXPECT_EQ(filter.finish(), "E");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilter, PrefixesThatOverlapThemselvesAreKept) {
  for (const std::size_t size : {1u, 2u, 3u, 100u}) {
    EXPECT_EQ(filtered({"aab"}, "xaaab!", size), "xa") << size;
    EXPECT_EQ(filtered({"abab"}, "abaabab", size), "aba") << size;
    EXPECT_EQ(filtered({"\n\n"}, "a\nb\n\nc", size), "a\nb") << size;
  }
}

TEST(StopFilter, TheEarliestOfSeveralStopsCuts) {
  for (const std::size_t size : {1u, 2u, 100u}) {
    EXPECT_EQ(filtered({"zz", "cd", "d"}, "abcdzz", size), "ab") << size;
    EXPECT_EQ(filtered({"User:", "\n"}, "hi Use\nUser:", size), "hi Use") << size;
    EXPECT_EQ(filtered({"nope", "never"}, "no never", size), "no ") << size;
  }
}

TEST(StopFilter, NothingIsLostWithoutAStop) {
  const std::string text = "abcabcabdabcabe";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    EXPECT_EQ(filtered({"abcabf", "bda!", "abez"}, text, size), text) << size;
  }
}

TEST(StopFilter, AStopAtTheVeryStartLeavesNothing) {
  EXPECT_EQ(filtered({"a"}, "abc", 1), "");
}

}  // namespace
}  // namespace moebius

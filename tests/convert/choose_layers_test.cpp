#include <gtest/gtest.h>

#include "base/support.h"
#include "convert/choose_layers.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using Layers = std::vector<std::int64_t>;

TEST(ChooseLayers, EveryNthFromTheFirst) {
  EXPECT_EQ(choose_layers("", 4, 10), (Layers{0, 4, 8}));
  EXPECT_EQ(choose_layers("", 1, 3), (Layers{0, 1, 2}));
  EXPECT_EQ(choose_layers("", 100, 3), Layers{0});
  EXPECT_THROW(choose_layers("", 0, 3), UsageError);
  EXPECT_THROW(choose_layers("", -1, 3), UsageError);
}

TEST(ChooseLayers, NumbersRangesAndAll) {
  EXPECT_EQ(choose_layers("0,4,8-11", 1, 12), (Layers{0, 4, 8, 9, 10, 11}));
  EXPECT_EQ(choose_layers("all", 4, 3), (Layers{0, 1, 2}));
  EXPECT_EQ(choose_layers("2-2", 4, 3), Layers{2});
  EXPECT_EQ(choose_layers("5,1,3-5,1", 4, 6), (Layers{1, 3, 4, 5}));  // ascending, each once
}

TEST(ChooseLayers, MalformedTextIsAnErrorOfUsageThatQuotesIt) {
  for (const char* text : {",", "1,", ",1", "a", "1;2", "-3", "2-", "1-2-3", " 1", "1.5", "+1",
                           "All", "0x1", "99999999999999999999", "3-1"}) {
    EXPECT_THROW(choose_layers(text, 1, 12), UsageError) << text;
    EXPECT_TRUE(mentions(error_of([&] { choose_layers(text, 1, 12); }), {"--layers", text}));
  }
}

TEST(ChooseLayers, LayersOutOfRangeNameTheRange) {
  for (const char* text : {"12", "0,12", "8-12", "12-13"}) {
    EXPECT_TRUE(mentions(error_of([&] { choose_layers(text, 1, 12); }), {"layer 12", "0 to 11"}));
  }
}

}  // namespace
}  // namespace moebius

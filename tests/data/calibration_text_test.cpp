#include "data/calibration_text.h"

#include "base/support.h"
#include "infer/letter_tokenizer.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::TempDir;
using Windows = std::vector<std::vector<std::int32_t>>;

class CalibrationText : public ::testing::Test {
 protected:
  CalibrationText() {
    spec_.vocab = 16;
    spec_.context = 3;
    a_ = dir_.write("a.txt", "abcdefgh").string();
    b_ = dir_.write("b.txt", "pon").string();
  }
  Windows windows(const std::vector<std::string>& files, std::int64_t tokens) const {
    return calibration_windows(spec_, "some/model", tokenizer_, files, tokens);
  }

  TempDir dir_;
  ModelSpec spec_;
  std::optional<Tokenizer> tokenizer_ = support::letter_tokenizer();
  std::string a_, b_;
};

TEST_F(CalibrationText, TakesAsManyTokensOfEachFileAndDropsARest) {
  EXPECT_EQ(windows({a_}, 8), (Windows{{0, 1, 2}, {3, 4, 5}}));
  EXPECT_EQ(windows({a_, b_}, 7), (Windows{{0, 1, 2}, {3, 15, 14}}));  // 4 of a, 3 of b
}

TEST_F(CalibrationText, AShortTextIsOneWindow) {
  spec_.context = 100;
  EXPECT_EQ(windows({b_}, 50), (Windows{{15, 14, 13}}));
  EXPECT_TRUE(mentions(error_of([&] { windows({b_}, 1); }), {"1 tokens", "too few"}));
}

TEST_F(CalibrationText, NeedsATokenizerThatFits) {
  spec_.vocab = 10;
  EXPECT_TRUE(mentions(error_of([&] { windows({b_}, 3); }), {"15", "10"}));
  tokenizer_.reset();
  EXPECT_TRUE(mentions(error_of([&] { windows({b_}, 3); }), {"some/model", "no tokenizer"}));
}

}  // namespace
}  // namespace moebius

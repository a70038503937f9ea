// The comparison with Hugging Face's trainer is tests/python/test_tokenizer.py.
#include "text/bpe_trainer.h"

#include "text/tokenizer_fixture.h"

namespace moebius {
namespace {

using Strings = std::vector<std::string>;

TEST(BpeTrainer, MergesTheMostFrequentPairs) {
  const Strings documents = {"abab abab abab", "abc \xC3\xA9"},
                specials = {"<|endoftext|>", "<pad>"};
  Ids progress;
  const std::string text = train_byte_level_bpe(documents, 261, specials, [&](int done, int total) {
    EXPECT_EQ(total, 261);
    progress.push_back(done);
  });
  EXPECT_EQ(progress, (Ids{259, 260, 261}));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["model"]["merges"],
            nlohmann::json::parse(R"([["a", "b"], ["ab", "ab"], ["\u0120", "abab"]])"));
  EXPECT_EQ(json["model"]["vocab"].size(), 261u);

  const Tokenizer tokenizer = tokenizer_from_text(text);
  EXPECT_EQ(tokenizer.id_of("<pad>"), 1);
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_EQ(tokenizer.encode("abab abab<|endoftext|>"), (Ids{259, 260, 0}));
  for (const std::string& sample : hard_texts()) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(sample), false), sample);
  }
}

TEST(BpeTrainer, FewerPairsThanAsked) {
  const auto json = nlohmann::json::parse(train_byte_level_bpe(Strings{"aa"}, 1000, {}, {}));
  EXPECT_EQ(json["model"]["vocab"].size(), 257u);
  EXPECT_EQ(nlohmann::json::parse(train_byte_level_bpe({}, 256, {}, {}))["model"]["vocab"].size(),
            256u);
}

TEST(BpeTrainer, Errors) {
  EXPECT_THROW(train_byte_level_bpe(Strings{"a"}, 256, Strings{"<s>"}, {}), Error);
  EXPECT_THROW(train_byte_level_bpe(Strings{"a\xFF"}, 300, {}, {}), Error);
  EXPECT_THROW(train_byte_level_bpe(Strings{"abab"}, 300, {}, [](int, int) { fail("stop"); }),
               Error);
}

}  // namespace
}  // namespace moebius

#include "data/model_vocabulary.h"

#include "base/support.h"
#include "infer/letter_tokenizer.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;

ModelSpec of_vocabulary(std::int64_t vocab) {
  ModelSpec spec;
  spec.vocab = vocab;
  return spec;
}

TEST(PromptIds, AnEmptyPromptNeedsABos) {
  const Tokenizer tokenizer = support::letter_tokenizer();
  ModelSpec spec = of_vocabulary(16);
  EXPECT_TRUE(mentions(error_of([&] { prompt_ids(spec, tokenizer, ""); }), {"BOS"}));
  spec.bos = 2;
  EXPECT_EQ(prompt_ids(spec, tokenizer, ""), std::vector<std::int32_t>{2});
  EXPECT_EQ(prompt_ids(spec, tokenizer, "ba"), (std::vector<std::int32_t>{1, 0}));
}

TEST(CheckVocabulary, ATokenizerWithMoreIdsThanTheModelIsAnError) {
  const Tokenizer tokenizer = support::letter_tokenizer();
  EXPECT_NO_THROW(check_vocabulary(of_vocabulary(16), tokenizer, "some/model"));
  const ModelSpec small = of_vocabulary(10);
  EXPECT_TRUE(mentions(error_of([&] { check_vocabulary(small, tokenizer, "some/model"); }),
                       {"some/model", "16", "10"}));
  EXPECT_TRUE(mentions(error_of([&] { prompt_ids(small, tokenizer, "ap"); }), {"15", "10"}));
}

}  // namespace
}  // namespace moebius

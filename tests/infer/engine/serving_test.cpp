// The engine as a server uses it: requests join and leave while others run, and each token goes to
// the text stream of its request.
#include <gtest/gtest.h>

#include "infer/generate.h"
#include "infer/letter_tokenizer.h"
#include "infer/text/text_stream.h"
#include "model/random_model.h"

namespace moebius {
namespace {

struct Call {
  int arrives = 0;  ///< before this step
  GenerationRequest request;
  int cancelled_after = 1000;  ///< tokens
};

std::vector<Call> some_calls() {
  std::vector<Call> calls;
  for (int c = 0; c < 6; ++c) {
    Call& call = calls.emplace_back();
    call.arrives = 2 * c;
    call.request.prompt = {3, 1, 4, static_cast<std::int32_t>(c)};
    call.request.max_tokens = 4 + 3 * c;
    call.request.sampling.temperature = c % 2 == 0 ? 0.0 : 3.0;
    call.request.seed = 7;
    call.request.stream = static_cast<std::uint64_t>(c);
  }
  calls[1].request.stop = {"a", "bc", "ef"};
  calls[2].request.stop_ids = {5, 6};
  calls[4].cancelled_after = 3;
  return calls;
}

OpenModel open() {
  return make_open_model("some/model",
                         packed_inference(support::random_model(examples::llama_like("mixtral")),
                                          kernels::PackedType::f32, 2),
                         support::letter_tokenizer());
}

/// What a server sends.
struct Reply {
  std::string text;
  FinishReason finish = FinishReason::none;
};

std::vector<Reply> serve(const std::vector<Call>& calls) {
  OpenModel model = open();
  std::vector<Reply> replies(calls.size());
  struct Open {
    std::size_t call;
    TextStream stream;
  };
  std::map<std::int64_t, Open> streams;
  for (int step = 0; step < 100; ++step) {
    for (std::size_t c = 0; c < calls.size(); ++c) {
      if (calls[c].arrives != step) continue;
      const GenerationRequest& request = calls[c].request;
      streams.emplace(model.engine.add(request),
                      Open{c, {model.tokenizer, request.prompt, request.stop}});
    }
    for (const NewToken& token : model.engine.step()) {
      const auto found = streams.find(token.request);
      EXPECT_NE(found, streams.end());
      auto& [call, stream] = found->second;
      replies[call].text += stream.push(token);
      if (!stream.finished() && stream.new_tokens() == calls[call].cancelled_after) {
        replies[call].text += stream.finish(FinishReason::stop);
      }
      if (!stream.finished()) continue;
      replies[call].finish = stream.finish_reason();
      model.engine.cancel(token.request);
      streams.erase(found);
    }
  }
  EXPECT_TRUE(streams.empty());
  EXPECT_TRUE(model.engine.idle());
  return replies;
}

TEST(Serving, RequestsThatJoinAndLeaveGetTheTextOfGenerate) {
  const std::vector<Call> calls = some_calls();
  const std::vector<Reply> replies = serve(calls);
  for (std::size_t c = 0; c < calls.size(); ++c) {
    GenerationRequest request = calls[c].request;
    OpenModel model = open();
    model.stop_ids = request.stop_ids;
    Context ctx;
    ctx.seed = request.seed;
    const Generation alone = continue_prompts(model, {&request.prompt, 1}, request, ctx,
                                              request.stream, [](std::size_t, std::string_view) {})
                                 .at(0);
    if (calls[c].cancelled_after < 1000) {
      EXPECT_EQ(replies[c].text, alone.text.substr(0, 3));
    } else {
      EXPECT_EQ(replies[c].text, alone.text) << c;
      EXPECT_EQ(replies[c].finish, alone.finish_reason) << c;
    }
  }
}

}  // namespace
}  // namespace moebius

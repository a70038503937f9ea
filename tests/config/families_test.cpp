#include "config/families.h"

#include <cmath>

#include "base/support.h"
#include "config/examples.h"

namespace moebius {
namespace {

using examples::all_families;
using examples::config_of;
using examples::llama_like;
using examples::spec_of;
using support::error_of;
using support::mentions;
using support::TempDir;

std::string refusal(const Json& config) {
  return error_of([&] { spec_of(config); });
}

TEST(Families, TheTableHoldsAllFamiliesAndNamesThem) {
  std::vector<std::string> names;
  for (const Family& family : families()) names.emplace_back(family.model_type);
  EXPECT_EQ(names, all_families);
  const std::string unknown = refusal({{"model_type", "bloom"}});
  EXPECT_TRUE(mentions(unknown, {"config.json", "unknown architecture", "bloom"}));
  for (const std::string& name : all_families) EXPECT_TRUE(mentions(unknown, {name}));
  EXPECT_TRUE(mentions(refusal(Json::object()), {"config.json", "\"model_type\" is missing"}));
}

TEST(Families, LlamaSkeletonIsReadForItsFourFamilies) {
  for (const char* family : {"llama", "mistral", "mixtral", "granitemoe"}) {
    const ModelSpec spec = spec_of(llama_like(family));
    EXPECT_EQ(spec.family, family);
    EXPECT_FALSE(spec.overlay);
    EXPECT_EQ(spec.vocab, 16);
    EXPECT_EQ(spec.d_model, 8);
    EXPECT_EQ(spec.heads, 4);
    EXPECT_EQ(spec.kv_heads, 2);
    EXPECT_EQ(spec.head_dim, 2);
    EXPECT_EQ(spec.context, 32);
    ASSERT_EQ(spec.layers.size(), 2u);
    EXPECT_EQ(spec.layers[1].width, 6);
    EXPECT_EQ(spec.norm, NormKind::rms);
    EXPECT_EQ(spec.position, PositionKind::rope);
    EXPECT_EQ(spec.rope.theta, 5000.0);
    EXPECT_EQ(spec.activation, Activation::silu);
    EXPECT_TRUE(spec.gated);
    EXPECT_FALSE(spec.qkv_bias || spec.o_bias || spec.mlp_bias || spec.tied);
    EXPECT_EQ(spec.dtype, DType::f32);
  }
}

TEST(Families, DefaultsAreThoseOfTransformers) {
  const auto without = [](std::string family) {
    Json config = llama_like(family);
    for (const char* key :
         {"rope_theta", "num_key_value_heads", "max_position_embeddings", "tie_word_embeddings"}) {
      config.erase(key);
    }
    config["num_attention_heads"] = 8;
    config["hidden_size"] = 16;
    return spec_of(config);
  };
  EXPECT_EQ(without("llama").rope.theta, 1e4);
  EXPECT_EQ(without("mistral").rope.theta, 1e4);
  EXPECT_EQ(without("mixtral").rope.theta, 1e6);
  EXPECT_EQ(without("granitemoe").rope.theta, 1e4);
  EXPECT_EQ(without("llama").norm_eps, 1e-6);
  EXPECT_EQ(without("mixtral").norm_eps, 1e-5);
  EXPECT_EQ(without("llama").kv_heads, 8);
  EXPECT_EQ(without("mistral").kv_heads, 8);
  EXPECT_EQ(without("llama").context, 2048);
  EXPECT_EQ(without("mixtral").context, 131072);
  EXPECT_FALSE(without("llama").tied);
  EXPECT_EQ(without("llama").attention_scale, 1 / std::sqrt(2.0));
  EXPECT_EQ(without("granitemoe").attention_scale, 1.0);  // attention_multiplier
  EXPECT_EQ(without("mixtral").balance_coefficient, 0.001);
}

TEST(Families, Gpt2HasLearnedPositionsBiasesAndATiedHead) {
  const ModelSpec spec = spec_of(examples::gpt2());
  EXPECT_EQ(spec.layers[0].width, 32);
  EXPECT_EQ(spec.norm, NormKind::layer);
  EXPECT_EQ(spec.position, PositionKind::learned);
  EXPECT_EQ(spec.activation, Activation::gelu_tanh);
  EXPECT_FALSE(spec.gated);
  EXPECT_TRUE(spec.qkv_bias && spec.o_bias && spec.mlp_bias && spec.tied);
  Json config = examples::gpt2();
  config["n_inner"] = 12;
  config["scale_attn_weights"] = false;
  config["activation_function"] = "relu";
  EXPECT_EQ(spec_of(config).layers[0].width, 12);
  EXPECT_EQ(spec_of(config).attention_scale, 1.0);
  EXPECT_EQ(spec_of(config).activation, Activation::relu);
  config["n_inner"] = nullptr;
  EXPECT_EQ(spec_of(config).layers[0].width, 32);
}

TEST(Families, ExpertsOfMixtralAndGraniteAreRowsOfTheSameDescription) {
  for (const char* family : {"mixtral", "granitemoe"}) {
    const ModelSpec spec = spec_of(llama_like(family));
    for (const LayerSpec& layer : spec.layers) {
      ASSERT_TRUE(layer.moe);
      EXPECT_EQ(layer.moe->experts, 4);
      EXPECT_EQ(layer.moe->top_k, 2);
      EXPECT_EQ(layer.moe->groups, 4);
      EXPECT_EQ(layer.moe->width, 6);
      EXPECT_EQ(layer.moe->weights, RouterWeights::softmax_renorm);
    }
  }
}

TEST(Families, GraniteMultipliersAreRead) {
  Json config = llama_like("granitemoe");
  config["embedding_multiplier"] = 12.0;
  config["attention_multiplier"] = 0.25;
  config["residual_multiplier"] = 0.5;
  config["logits_scaling"] = 8;
  config["attention_bias"] = true;
  const ModelSpec spec = spec_of(config);
  EXPECT_EQ(spec.embedding_multiplier, 12.0);
  EXPECT_EQ(spec.attention_scale, 0.25);
  EXPECT_EQ(spec.residual_multiplier, 0.5);
  EXPECT_EQ(spec.logits_divisor, 8.0);
  EXPECT_TRUE(spec.qkv_bias && spec.o_bias);
  config["logits_scaling"] = 0;
  EXPECT_TRUE(mentions(refusal(config), {"logits_scaling"}));
}

TEST(Families, OldAndNewSpellingOfDtypeAndRopeAreRead) {
  for (const char* family : {"llama", "mistral", "mixtral", "granitemoe"}) {
    Json old_style = llama_like(family), new_style = llama_like(family);
    old_style["torch_dtype"] = "bfloat16";
    old_style["rope_theta"] = 777.0;
    new_style.erase("rope_theta");
    new_style["dtype"] = "bfloat16";
    new_style["rope_parameters"] = {{"rope_theta", 777.0}, {"rope_type", "default"}};
    for (const Json& config : {old_style, new_style}) {
      EXPECT_EQ(spec_of(config).dtype, DType::bf16);
      EXPECT_EQ(spec_of(config).rope.theta, 777.0);
    }
  }
  Json gpt2 = examples::gpt2();
  gpt2["torch_dtype"] = "float16";
  EXPECT_EQ(spec_of(gpt2).dtype, DType::f16);
  gpt2["dtype"] = "float32";  // the new name wins
  EXPECT_EQ(spec_of(gpt2).dtype, DType::f32);
}

TEST(Families, RopeScalingIsReadUnderEveryKey) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    for (const char* name : {"rope_type", "type"}) {
      Json config = llama_like("llama");
      config[key] = {{name, "linear"}, {"factor", 2.0}};
      EXPECT_EQ(spec_of(config).rope.scaling, RopeScaling::linear);
      EXPECT_EQ(spec_of(config).rope.factor, 2.0);
      EXPECT_EQ(spec_of(config).context, 64);
      config[key] = {{name, "longrope"}, {"factor", 2.0}};
      EXPECT_TRUE(mentions(refusal(config), {"config.json", key, "longrope", "known: default"}));
    }
  }
}

TEST(Families, RopeScalingThatCannotBeIsRefused) {
  const auto refused = [](const Json& rope, std::initializer_list<std::string_view> parts) {
    Json config = llama_like("llama");
    config["rope_scaling"] = rope;
    EXPECT_TRUE(mentions(refusal(config), parts));
  };
  refused({{"rope_type", "linear"}}, {"factor", "missing"});
  refused({{"rope_type", "linear"}, {"factor", 0.5}}, {"factor"});
  refused({{"rope_type", "linear"}, {"factor", 1e9}}, {"factor"});
  refused({{"rope_type", "dynamic"}, {"factor", 2}}, {"dynamic", "heads of 4"});
  refused({{"rope_type", "llama3"}, {"factor", 2}}, {"low_freq_factor", "missing"});
  refused({{"rope_type", "llama3"}, {"factor", 2}, {"low_freq_factor", 4}, {"high_freq_factor", 4}},
          {"high_freq_factor"});
  refused({{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", 1}, {"beta_slow", 2}},
          {"beta_fast"});
  refused({{"rope_type", "yarn"}, {"factor", 2}, {"original_max_position_embeddings", -1}},
          {"original_max_position_embeddings"});
}

TEST(Families, RotaryPositionsOfAWholeHeadAreTaken) {
  Json config = llama_like("llama");
  config["rope_scaling"] = nullptr;
  EXPECT_EQ(refusal(config), "no error");
  config["rope_parameters"] = {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}};
  EXPECT_TRUE(mentions(refusal(config), {"partial_rotary_factor"}));
  config.erase("rope_parameters");
  config["rope_theta"] = 0;
  EXPECT_TRUE(mentions(refusal(config), {"rope_theta"}));
}

TEST(Families, EverySizeThatIsNoSizeIsRefused) {
  const std::vector<std::string> sizes{"vocab_size",
                                       "hidden_size",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "intermediate_size",
                                       "num_hidden_layers",
                                       "head_dim",
                                       "max_position_embeddings",
                                       "num_local_experts",
                                       "num_experts_per_tok"};
  for (const std::string& key : sizes) {
    for (const Json& bad : {Json(0), Json(-1), Json(1LL << 40), Json(2.5), Json("8"), Json(true)}) {
      Json config = llama_like("mixtral");
      config[key] = bad;
      EXPECT_TRUE(mentions(refusal(config), {"config.json", key})) << bad;
    }
  }
  for (const char* key : {"vocab_size", "n_embd", "n_head", "n_layer", "n_positions", "n_inner"}) {
    for (const Json& bad : {Json(0), Json(-1), Json(1LL << 40)}) {
      Json config = examples::gpt2();
      config[key] = bad;
      EXPECT_TRUE(mentions(refusal(config), {"config.json", key})) << bad;
    }
  }
}

TEST(Families, SizesThatDoNotFitTogetherAreRefused) {
  const auto expect = [](const char* family, Json changes, std::string_view key,
                         std::string_view what) {
    Json config = config_of(family);
    config.update(changes);
    EXPECT_TRUE(mentions(refusal(config), {"config.json", key, what}));
  };
  expect("llama", {{"num_key_value_heads", 3}}, "num_key_value_heads", "does not divide 4 heads");
  expect("llama", {{"num_attention_heads", 6}}, "num_attention_heads",
         "does not divide hidden_size 8");
  expect("llama", {{"head_dim", 3}}, "head_dim", "odd");
  expect("llama", {{"hidden_size", 12}}, "head_dim", "odd");
  expect("gpt2", {{"n_head", 3}}, "n_head", "does not divide");
  expect("mixtral", {{"num_experts_per_tok", 5}}, "top-5 of 4", "K must not exceed E");
  expect("llama", {{"hidden_act", "softplus"}}, "hidden_act", "softplus");
  expect("gpt2", {{"activation_function", "mish"}}, "activation_function", "mish");
  expect("gpt2", {{"scale_attn_by_inverse_layer_idx", true}}, "scale_attn_by_inverse_layer_idx",
         "not supported");
  expect("llama", {{"dtype", "float8"}}, "dtype", "float8");
  expect("llama", {{"dtype", "int8"}}, "dtype", "int8");
}

TEST(Families, DeepseekIsReadAsTransformersReadsIt) {
  const Json config = examples::deepseek("deepseek_v2");
  const ModelSpec v2 = spec_of(config), v3 = spec_of(examples::deepseek("deepseek_v3"));
  for (const ModelSpec& spec : {v2, v3}) {
    ASSERT_TRUE(spec.latent && spec.layers[1].moe);
    EXPECT_EQ(spec.head_dim, 6);
    EXPECT_EQ(spec.rotary_dim(), 2);
    EXPECT_EQ(spec.attention_scale, 1 / std::sqrt(6.0));
    EXPECT_TRUE(spec.rope.interleaved);
    EXPECT_EQ(spec.layers[1].moe->shared_width, 12);
    EXPECT_EQ(spec.balance_coefficient, 0.0);
  }
  EXPECT_EQ(v2.layers[0].moe->weights, RouterWeights::softmax);
  EXPECT_EQ(v3.layers[0].moe->weights, RouterWeights::sigmoid_renorm);
  EXPECT_EQ(v2.layers[0].moe->limit, (GroupLimit{2, 1, 1}));
  EXPECT_EQ(v3.layers[0].moe->limit, (GroupLimit{2, 1, 2}));
  EXPECT_TRUE(v3.layers[0].moe->corrected && !v2.layers[0].moe->corrected);
  EXPECT_EQ(v2.layers[0].moe->weight_factor, 1.0);
  EXPECT_EQ(v3.layers[0].moe->weight_factor, 2.5);
  Json sparse = config;
  sparse.update({{"topk_method", "greedy"}, {"norm_topk_prob", true}, {"q_lora_rank", nullptr}});
  sparse["first_k_dense_replace"] = 1;
  EXPECT_EQ(spec_of(sparse).layers[1].moe->limit, GroupLimit{});
  EXPECT_EQ(spec_of(sparse).layers[1].moe->weights, RouterWeights::softmax);
  EXPECT_FALSE(spec_of(sparse).layers[0].moe);
  EXPECT_EQ(spec_of(sparse).latent->q_rank, 0);
  sparse.erase("q_lora_rank");
  EXPECT_EQ(spec_of(sparse).latent->q_rank, 1536);  // the default of transformers
}

TEST(Families, YarnOfDeepseekScalesAttentionToo) {
  Json config = examples::deepseek("deepseek_v3");
  config["rope_scaling"] = {{"type", "yarn"},
                            {"factor", 40},
                            {"mscale", 1.0},
                            {"mscale_all_dim", 0.5},
                            {"original_max_position_embeddings", 16}};
  const double all = 0.1 * 0.5 * std::log(40) + 1, one = 0.1 * std::log(40) + 1;
  EXPECT_EQ(spec_of(config).attention_scale, all * all / std::sqrt(6.0));
  EXPECT_EQ(spec_of(config).rope.attention_factor, one / all);
  EXPECT_EQ(spec_of(config).context, 640);
}

TEST(Families, DeepseekThatCannotBeIsRefused) {
  const auto refused = [](const char* family, const Json& changes,
                          std::initializer_list<std::string_view> parts) {
    Json config = examples::deepseek(family);
    config.update(changes);
    EXPECT_TRUE(mentions(refusal(config), parts)) << changes;
  };
  for (const char* key : {"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
                          "v_head_dim", "n_routed_experts", "moe_intermediate_size", "n_group",
                          "topk_group", "num_attention_heads"}) {
    for (const Json& bad : {Json(0), Json(-1), Json(1LL << 40), Json(2.5), Json("8")}) {
      refused("deepseek_v2", {{key, bad}}, {"config.json", key});
      refused("deepseek_v3", {{key, bad}}, {"config.json", key});
    }
  }
  refused("deepseek_v2", {{"qk_rope_head_dim", 3}}, {"qk_rope_head_dim", "odd"});
  refused("deepseek_v2", {{"num_key_value_heads", 2}}, {"num_key_value_heads", "is 2", "not 4"});
  refused("deepseek_v2", {{"mlp_bias", true}}, {"mlp_bias"});
  refused("deepseek_v2", {{"topk_method", "noaux_tc"}}, {"topk_method", "noaux_tc", "greedy"});
  refused("deepseek_v2", {{"n_group", 3}}, {"3 groups of 4 experts"});
  refused("deepseek_v3", {{"n_group", 4}}, {"4 groups of 4 experts", "2 or more"});
  refused("deepseek_v3", {{"topk_group", 3}}, {"3 of 2 groups"});
  refused("deepseek_v2", {{"num_experts_per_tok", 3}}, {"1 of 2 groups", "top-3 of 4"});
  refused("deepseek_v3", {{"n_shared_experts", -1}}, {"n_shared_experts"});
  refused(
      "deepseek_v3",
      {{"v_head_dim", 1 << 29}, {"num_attention_heads", 1 << 30}, {"num_key_value_heads", 1 << 30}},
      {"2^40"});
}

TEST(Families, HeadDimNeedNotBeWidthByHeads) {
  Json config = llama_like("llama");
  config["head_dim"] = 6;
  EXPECT_EQ(spec_of(config).head_dim, 6);
  EXPECT_EQ(weight_shapes(spec_of(config)).layers[0].attn.o, (Shape{8, 24}));
}

TEST(Families, SlidingWindowsAreReadByLayer) {
  const auto windows = [](const Json& config) {
    std::vector<std::int64_t> found;
    for (const LayerSpec& layer : spec_of(config).layers) found.push_back(layer.window);
    return found;
  };
  using Windows = std::vector<std::int64_t>;
  Json config = llama_like("mistral");
  EXPECT_EQ(windows(config), (Windows{4096, 4096}));  // the default of transformers
  config["sliding_window"] = 20;
  EXPECT_EQ(windows(config), (Windows{20, 20}));
  config["sliding_window"] = nullptr;
  EXPECT_EQ(windows(config), (Windows{0, 0}));
  config = llama_like("qwen2");
  config["sliding_window"] = 20;
  EXPECT_EQ(windows(config), (Windows{0, 0}));
  config["use_sliding_window"] = true;
  config["max_window_layers"] = 1;
  EXPECT_EQ(windows(config), (Windows{0, 20}));
  config["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_EQ(windows(config), (Windows{20, 0}));
  config["layer_types"] = {"sliding_attention"};
  EXPECT_TRUE(mentions(refusal(config), {"layer_types", "1 entries for 2 layers"}));
  config["layer_types"] = {"sliding_attention", "linear_attention"};
  EXPECT_TRUE(mentions(refusal(config), {"layer_types", "linear_attention"}));
}

TEST(ReadModelSpec, GenerationConfigWinsOverBosAndEos) {
  const TempDir dir;
  Json config = llama_like("llama");
  config["bos_token_id"] = 1;
  config["eos_token_id"] = 2;
  dir.write("config.json", config.dump());
  EXPECT_EQ(read_model_spec(dir.path()).eos, std::vector<std::int64_t>{2});
  dir.write("generation_config.json", R"({"bos_token_id": 5, "eos_token_id": [7, 8]})");
  const ModelSpec spec = read_model_spec(dir.path());
  EXPECT_EQ(spec.bos, 5);
  EXPECT_EQ(spec.eos, (std::vector<std::int64_t>{7, 8}));
  EXPECT_TRUE(spec.stops_at_eos);
  dir.write("generation_config.json", R"({"do_sample": true})");
  EXPECT_EQ(read_model_spec(dir.path()).eos, std::vector<std::int64_t>{2});  // separates documents
  EXPECT_FALSE(read_model_spec(dir.path()).stops_at_eos);
}

TEST(ReadModelSpec, NamesTheDirectoryOrFileThatIsWrong) {
  const TempDir dir;
  EXPECT_TRUE(mentions(error_of([&] { read_model_spec(dir.path() / "x"); }), {"x", "no such"}));
  EXPECT_TRUE(mentions(error_of([&] { read_model_spec(dir.path()); }), {"config.json"}));
  dir.write("config.json", llama_like("llama").dump());
  dir.write("generation_config.json", R"({"eos_token_id": "no"})");
  EXPECT_TRUE(mentions(error_of([&] { read_model_spec(dir.path()); }),
                       {"generation_config.json", "eos_token_id"}));
}

TEST(ParseModelSpec, SizesThatAreAbsurdTogetherAreRefused) {
  Json config = llama_like("mixtral");
  config["num_local_experts"] = 1 << 16;
  config["num_hidden_layers"] = 1 << 12;
  EXPECT_TRUE(
      mentions(error_of([&] { parse_model_spec(config, "c.json"); }), {"c.json", "tensors"}));
  config = llama_like("llama");
  for (const char* key : {"hidden_size", "num_attention_heads", "num_key_value_heads"}) {
    config[key] = std::int64_t{1} << 31;
  }
  config["head_dim"] = 1 << 30;
  EXPECT_TRUE(mentions(error_of([&] { parse_model_spec(config, "c.json"); }), {"c.json", "2^40"}));
}

TEST(Substitute, ReplacesItsKeyAlone) {
  EXPECT_EQ(substitute("a.{l}.b.{e}", "l", 3), "a.3.b.{e}");
  EXPECT_EQ(substitute("a.b", "l", 3), "a.b");
}

TEST(Matches, StarStandsForAnythingAndNothing) {
  EXPECT_TRUE(matches("abc", "abc"));
  EXPECT_FALSE(matches("abc", "abcd"));
  EXPECT_FALSE(matches("", "a"));
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("layers.*.attn.*", "layers.10.attn.q.weight"));
  EXPECT_FALSE(matches("layers.*.attn.*", "layers.10.ffn.up.weight"));
  EXPECT_TRUE(matches("*.bias", "a.bias.bias"));
  EXPECT_FALSE(matches("*.bias", "a.biased"));
  EXPECT_TRUE(matches("a*b*c", "abbc"));
  EXPECT_FALSE(matches("a*b*c", "acb"));
  EXPECT_TRUE(matches("**a", "a"));
}

}  // namespace
}  // namespace moebius

// What the reader of one file believes, and every lie that it must not.
#include "checkpoint/safetensors.h"

#include "checkpoint/raw_file.h"

namespace moebius {
namespace {

using support::error_of;
using support::f32_file;
using support::mentions;
using support::raw_safetensors;
using support::TempDir;

class ReadSafetensors : public ::testing::Test {
 protected:
  std::string error(const std::string& bytes) {
    const fs::path file = dir_.write("model.safetensors", bytes);
    const std::string message = error_of([&] { read_safetensors(file); });
    if (message != "no error") {
      EXPECT_TRUE(mentions(message, {"model.safetensors"}));
    }
    return message;
  }
  /// The error of one tensor "w" with `entry`, over 8 bytes of data.
  std::string entry_error(const std::string& entry) {
    return error(raw_safetensors("{\"w\":" + entry + "}", std::string(8, '\0')));
  }
  TempDir dir_;
};

TEST_F(ReadSafetensors, GivesTensorsInTheOrderOfTheirData) {
  const std::string header = R"({"z":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
    "a":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},
    "empty":{"dtype":"F16","shape":[0,5],"data_offsets":[7,7]},
    "scalar":{"dtype":"BF16","shape":[],"data_offsets":[7,9]},"__metadata__":{"format":"pt"}})";
  const auto entries =
      read_safetensors(dir_.write("m.safetensors", raw_safetensors(header, "123456789")));
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].name, "z");
  EXPECT_EQ(entries[1].name, "a");
  EXPECT_EQ(entries[1].dtype, DType::u8);
  EXPECT_EQ(entries[1].elements(), 3);
  EXPECT_EQ(static_cast<char>(entries[1].data[0]), '5');
  EXPECT_EQ(entries[2].shape, (Shape{0, 5}));
  EXPECT_EQ(entries[3].shape, Shape{});
  EXPECT_EQ(entries[3].elements(), 1);
}

TEST_F(ReadSafetensors, AFileCutAnywhereIsAnError) {
  const std::string whole = f32_file({{"a", {3}}, {"b", {2, 2}}});
  ASSERT_EQ(error(whole), "no error");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_NE(error(whole.substr(0, size)), "no error") << size << " of " << whole.size();
  }
}

TEST_F(ReadSafetensors, AHeaderLengthBeyondTheFileIsAnError) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{1} << 40, std::uint64_t{1} << 63, UINT64_MAX}) {
    EXPECT_TRUE(mentions(error(raw_safetensors("{}", "", length)), {std::to_string(length)}));
  }
}

TEST_F(ReadSafetensors, AHeaderThatIsNoJsonObjectIsAnError) {
  for (const char* header : {"", "{", "[1]x", "nonsense", "{\"a\":}", "{\"\xFF\":1}"}) {
    EXPECT_TRUE(mentions(error(raw_safetensors(header, "")), {"not JSON"})) << header;
  }
  for (const char* header : {"[]", "3", "null", "\"x\""}) {
    EXPECT_TRUE(mentions(error(raw_safetensors(header, "")), {"not a JSON object"})) << header;
  }
}

TEST_F(ReadSafetensors, ANumberBeyondDoubleIsAnErrorThatNamesTheFile) {
  EXPECT_TRUE(mentions(error(raw_safetensors("{\"w\":1e999}", "")), {"model.safetensors"}));
}

TEST_F(ReadSafetensors, ADeeplyNestedHeaderIsAnErrorNotACrash) {
  constexpr std::size_t depth = 200'000;
  const std::string nested = std::string(depth, '[') + std::string(depth, ']');
  EXPECT_NE(error(raw_safetensors("{\"w\":{\"dtype\":\"F32\",\"shape\":" + nested + "}}", "")),
            "no error");
}

TEST_F(ReadSafetensors, ANameGivenTwiceIsAnError) {
  const std::string entry = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const std::string header = "{\"w\":" + entry + ",\"v\":" + entry + ",\"w\":" + entry + "}";
  EXPECT_TRUE(mentions(error(raw_safetensors(header, "1234")), {"tensor w", "twice"}));
}

TEST_F(ReadSafetensors, EntriesThatAreMalformedNameTheTensor) {
  for (const char* entry :
       {"3", "[]", "{}", R"({"dtype":"F32","shape":[2]})",
        R"({"dtype":"F32","data_offsets":[0,8]})", R"({"shape":[2],"data_offsets":[0,8]})",
        R"({"dtype":7,"shape":[2],"data_offsets":[0,8]})",
        R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})",
        R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})",
        R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})",
        R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})",
        R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]})",
        R"({"dtype":"F32","shape":[2],"data_offsets":8})",
        R"({"dtype":"F32","shape":[2],"data_offsets":[8]})",
        R"({"dtype":"F32","shape":[2],"data_offsets":[0,4,8]})",
        R"({"dtype":"F32","shape":[2],"data_offsets":[0.0,8.0]})",
        R"({"dtype":"F32","shape":[2],"data_offsets":["0","8"]})"}) {
    EXPECT_TRUE(mentions(entry_error(entry), {"tensor w"})) << entry;
  }
}

TEST_F(ReadSafetensors, AnUnknownDtypeIsNamed) {
  EXPECT_TRUE(mentions(entry_error(R"({"dtype":"F8_E5M2","shape":[8],"data_offsets":[0,8]})"),
                       {"tensor w", "F8_E5M2"}));
}

TEST_F(ReadSafetensors, OffsetsThatLieAreErrors) {
  const auto expect = [&](const std::string& offsets, std::string_view what) {
    EXPECT_TRUE(
        mentions(entry_error(R"({"dtype":"F32","shape":[2],"data_offsets":[)" + offsets + "]}"),
                 {"tensor w", what}))
        << offsets;
  };
  expect("8,0", "not [begin, end]");
  expect("-8,0", "not [begin, end]");
  expect("9223372036854775808,9223372036854775816", "not [begin, end]");
  expect("0,18446744073709551615", "not [begin, end]");
  expect("4,12", "outside the file");
  expect("16,24", "outside the file");
  expect("9223372036854775799,9223372036854775807", "outside the file");
  expect("0,4", "needs 8 bytes, the header gives it 4");
  expect("0,7", "needs 8 bytes");
  expect("0,0", "needs 8 bytes");
}

TEST_F(ReadSafetensors, ShapesThatOverflowAreErrors) {
  for (const char* shape :
       {"[4294967296,4294967296]", "[281474976710656,65536]", "[18446744073709551615]",
        "[281474976710657]", "[281474976710656,281474976710656,281474976710656]"}) {
    EXPECT_TRUE(mentions(entry_error(std::string(R"({"dtype":"F32","shape":)") + shape +
                                     R"(,"data_offsets":[0,0]})"),
                         {"tensor w", "shape"}))
        << shape;
  }
}

TEST_F(ReadSafetensors, OverlappingTensorsAreNamed) {
  const auto header = [](const char* a, const char* b) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":[{}]}},)"
                       R"("b":{{"dtype":"U8","shape":[4],"data_offsets":[{}]}}}})",
                       a, b);
  };
  const std::string data(8, '\0');
  EXPECT_EQ(error(raw_safetensors(header("0,4", "4,8"), data)), "no error");
  for (const auto& [a, b] : {std::pair{"0,4", "3,7"}, {"0,4", "0,4"}, {"4,8", "1,5"}}) {
    EXPECT_TRUE(mentions(error(raw_safetensors(header(a, b), data)), {"overlap", "a", "b"}));
  }
}

TEST_F(ReadSafetensors, AnEmptyTensorBetweenDoesNotHideAnOverlap) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},
    "none":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},
    "b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})";
  EXPECT_TRUE(mentions(error(raw_safetensors(header, std::string(8, '\0'))), {"overlap"}));
}

TEST_F(ReadSafetensors, NoFileNoTensorNoTrouble) {
  EXPECT_TRUE(read_safetensors(dir_.write("e.safetensors", raw_safetensors("{}", ""))).empty());
  EXPECT_TRUE(mentions(error_of([&] { read_safetensors(dir_.path() / "absent"); }), {"absent"}));
}

}  // namespace
}  // namespace moebius

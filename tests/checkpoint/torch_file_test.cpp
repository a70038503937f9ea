// Tensors of a torch.save archive that is put together by hand; files of torch.save itself are
// read in tests/python/test_bin.py.
#include "checkpoint/torch_file.h"

#include "checkpoint/raw_zip.h"

namespace moebius {
namespace {

using support::error_of;
using support::le;
using support::mentions;
using support::raw_zip;
using support::RawEntry;
using support::TempDir;
using namespace std::string_literals;

std::string text(const std::string& value) {
  return "X" + le(static_cast<std::uint32_t>(value.size())) + value;
}
std::string integer(std::int64_t value) {
  return "\x8a\x08" + le(value);
}
std::string tuple(const std::vector<std::int64_t>& values) {
  std::string out = "(";
  for (const std::int64_t value : values) out += integer(value);
  return out + "t";
}
std::string storage(const std::string& type, const std::string& key, std::int64_t elements) {
  return "(" + text("storage") + "ctorch\n" + type + "\n" + text(key) + text("cpu") +
         integer(elements) + "tQ";
}

struct View {
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape, strides;
  std::int64_t elements = 6;
  std::string type = "FloatStorage", key = "0";
};
std::string tensor(const View& view) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage(view.type, view.key, view.elements) +
         integer(view.offset) + tuple(view.shape) + tuple(view.strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}

class TorchFile : public ::testing::Test {
 protected:
  /// A file whose state dict is `body`, with one storage of 1, 2, ... 6.
  fs::path file(const std::string& body, const std::vector<RawEntry>& more = {}) {
    std::string numbers;
    for (int i = 1; i <= 6; ++i) numbers += le(static_cast<float>(i));
    std::vector<RawEntry> entries{{"r/data.pkl", "\x80\x02" + body + "."}, {"r/data/0", numbers}};
    entries.insert(entries.end(), more.begin(), more.end());
    return dir_.write("m.bin", raw_zip(entries));
  }
  std::string error(const std::string& body, const std::vector<RawEntry>& more = {}) {
    const fs::path path = file(body, more);
    const std::string message = error_of([&] { read_torch_file(path); });
    if (message != "no error") {
      EXPECT_TRUE(mentions(message, {"m.bin"}));
    }
    return message;
  }
  std::string view_error(const View& view) { return error("}" + text("w") + tensor(view) + "s"); }
  std::vector<float> values(const TensorEntry& entry) {
    std::vector<float> out(static_cast<std::size_t>(entry.elements()));
    std::memcpy(out.data(), entry.data, entry.bytes);
    return out;
  }
  TempDir dir_;
};

TEST_F(TorchFile, ViewsOfOneStorage) {
  const auto entries = read_torch_file(file(
      "}(" + text("whole") + tensor({0, {2, 3}, {3, 1}}) + text("turned") +
      tensor({0, {3, 2}, {1, 3}}) + text("again") + tensor({0, {3, 2}, {1, 3}}) + text("tail") +
      tensor({4, {2}, {1}}) + text("scalar") + tensor({2, {}, {}}) + text("one") +
      tensor({1, {1, 1}, {77, 99}}) + text("none") + tensor({6, {0, 3}, {3, 1}}) + text("column") +
      tensor({1, {2}, {3}}) + text("number") + "K\x01" + text("nothing") + "Nu"));
  std::map<std::string, const TensorEntry*> by_name;
  for (const TensorEntry& entry : entries) by_name[entry.name] = &entry;
  ASSERT_EQ(by_name.size(), 8u);
  EXPECT_EQ(values(*by_name["whole"]), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(by_name["whole"]->owned, nullptr);
  EXPECT_EQ(values(*by_name["turned"]), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(by_name["turned"]->shape, (Shape{3, 2}));
  EXPECT_EQ(by_name["again"]->data, by_name["turned"]->data);
  EXPECT_EQ(values(*by_name["tail"]), (std::vector<float>{5, 6}));
  EXPECT_EQ(values(*by_name["scalar"]), std::vector<float>{3});
  EXPECT_EQ(values(*by_name["one"]), std::vector<float>{2});
  EXPECT_EQ(by_name["one"]->owned, nullptr);
  EXPECT_EQ(by_name["none"]->bytes, 0u);
  EXPECT_EQ(values(*by_name["column"]), (std::vector<float>{2, 5}));
}

TEST_F(TorchFile, ADictUnderAKnownKeyIsRead) {
  const std::string inner = "}" + text("w") + tensor({0, {6}, {1}}) + "s";
  for (const char* key : {"state_dict", "model"}) {
    const auto entries =
        read_torch_file(file("}(" + text("optimizer") + "]" + text(key) + inner + "u"));
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].name, "w");
  }
  EXPECT_TRUE(
      mentions(error("}" + text("weights") + inner + "s"), {"tensor weights: is no tensor"}));
}

TEST_F(TorchFile, ViewsThatLeaveTheStorageAreErrors) {
  constexpr std::int64_t most = INT64_MAX;
  for (const View& view :
       std::vector<View>{{0, {7}, {1}},
                         {1, {6}, {1}},
                         {7, {0}, {1}},
                         {0, {2, 3}, {4, 1}},
                         {0, {most, most}, {1, 1}},
                         {0, {most, most, most, 0}, {most, most, most, most}},
                         {0, {2}, {most}},
                         {most, {1}, {1}},
                         {0, {2, 2, 2}, {most, most, most}},
                         {-1, {2}, {1}},
                         {0, {-1}, {1}},
                         {0, {-1, -6}, {1, 1}},
                         {5, {2}, {-1}},
                         {0, {2, 3}, {1}},
                         {0, {1, 1, 1, 1, 1, 1, 1, 1, 6}, {1, 1, 1, 1, 1, 1, 1, 1, 1}}}) {
    EXPECT_TRUE(mentions(view_error(view), {"tensor w"})) << view.offset;
  }
  EXPECT_TRUE(mentions(view_error({0, {3, 6}, {0, 1}}), {"tensor w", "expanded"}));
  EXPECT_EQ(view_error({0, {0, most, most}, {most, most, most}}), "no error");
}

TEST_F(TorchFile, CopiesLargerThanTheFileAreRefused) {
  // Thousands of columns of one storage, none like the other; each is copied.
  constexpr std::int64_t elements = 1 << 16;
  std::string body = "}(" + storage("FloatStorage", "big", elements) + "q\0000"s;
  for (int i = 0; i < 12; ++i) {
    body += text(std::to_string(i)) + "ctorch._utils\n_rebuild_tensor\n(h\0"s + integer(i) +
            tuple({elements / 2 - 16}) + tuple({2}) + "tR";
  }
  const std::vector<RawEntry> big{{"r/data/big", std::string(4 * elements, '\1')}};
  EXPECT_TRUE(mentions(error(body + "u", big), {"larger than the file"}));
}

TEST_F(TorchFile, StoragesThatLieAreErrors) {
  EXPECT_TRUE(mentions(view_error({0, {6}, {1}, 7}), {"24 bytes", "7 elements"}));
  EXPECT_TRUE(mentions(view_error({0, {6}, {1}, 5}), {"5 elements"}));
  EXPECT_TRUE(mentions(view_error({0, {6}, {1}, -6}), {"-6 elements"}));
  EXPECT_TRUE(mentions(view_error({0, {3}, {1}, 6, "DoubleStorage"}), {"24 bytes"}));
  EXPECT_TRUE(mentions(view_error({0, {6}, {1}, 6, "FloatStorage", "1"}), {"holds no data/1"}));
  EXPECT_TRUE(mentions(view_error({0, {6}, {1}, 6, "FloatStorage", "../data.pkl"}), {"holds no"}));
  EXPECT_TRUE(mentions(view_error({0, {6}, {1}, 6, "float32"}), {"storage is malformed"}));
  EXPECT_TRUE(mentions(view_error({0, {6}, {1}, 6, "QInt8Storage"}), {"torch.QInt8Storage"}));
  EXPECT_EQ(view_error({0, {3}, {1}, 3, "LongStorage"}), "no error");
}

TEST_F(TorchFile, OtherShapesOfStateDictsAreNamed) {
  EXPECT_TRUE(mentions(error("K\x01"), {"something else"}));
  EXPECT_TRUE(mentions(error("]"), {"something else"}));
  EXPECT_TRUE(mentions(error(tensor({0, {6}, {1}})), {"something else"}));
  EXPECT_TRUE(mentions(error("}K\x01N"
                             "s"),
                       {"a key"}));
  EXPECT_TRUE(mentions(error("}" + text("w") + "]s"), {"tensor w: is no tensor"}));
  EXPECT_TRUE(mentions(error("}q\0"s + text("w") + "h\0s"s), {"tensor w"}));
  EXPECT_TRUE(mentions(error("}" + text("w\xFF") + "Ns"), {"UTF-8"}));
  EXPECT_EQ(error("}"), "no error");
  EXPECT_TRUE(mentions(error("}" + text("w") + "ctorch._utils\n_rebuild_parameter\n)Rs"),
                       {"tensor w", "malformed"}));
  EXPECT_TRUE(mentions(error("}" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n)Rs"),
                       {"tensor w", "malformed"}));
  EXPECT_TRUE(mentions(error("}" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n(NNNNtRs"),
                       {"tensor w", "storage"}));
}

TEST_F(TorchFile, AParameterIsOfATensorAlone) {
  const std::string open = "ctorch._utils\n_rebuild_parameter\n(", close = "\x89)tR";
  const std::string inner = tensor({0, {2, 3}, {3, 1}});
  EXPECT_EQ(error("}" + text("w") + open + inner + close + "s"), "no error");
  EXPECT_TRUE(mentions(error("}" + text("w") + open + open + inner + close + close + "s"),
                       {"tensor w", "no tensor"}));
}

TEST_F(TorchFile, ANameOfMegabytesIsCutInTheError) {
  const std::string message =
      error("}" + text(std::string(4 << 20, 'n')) + tensor({0, {6}, {1}}) + "s");
  EXPECT_TRUE(mentions(message, {"4194304 bytes"}));
  EXPECT_LT(message.size(), 1000u);
}

TEST_F(TorchFile, OtherKindsOfFilesAreNamed) {
  const auto bytes_error = [&](const std::string& bytes) {
    const fs::path path = dir_.write("m.bin", bytes);
    return error_of([&] { read_torch_file(path); });
  };
  EXPECT_TRUE(mentions(bytes_error("\x80\x02\x8a\x0al\xfc\x9c"), {"before 1.6", "torch.load"}));
  EXPECT_TRUE(mentions(bytes_error(""), {"m.bin", "not a file of torch.save"}));
  EXPECT_TRUE(mentions(bytes_error(raw_zip({{"r/x", "1"}})), {"without data.pkl"}));
  EXPECT_TRUE(mentions(bytes_error(raw_zip({{"r/data.pkl", "1"}, {"s/data.pkl", "1"}})),
                       {"data.pkl twice"}));
  EXPECT_TRUE(mentions(error("}", {{"r/constants.pkl", ""}}), {"TorchScript"}));
  EXPECT_TRUE(mentions(error("}", {{"r/byteorder", "big"}}), {"byte order is big"}));
  EXPECT_EQ(error("}", {{"r/byteorder", "little"}}), "no error");
}

TEST_F(TorchFile, CutAnywhereIsAnError) {
  std::ifstream in(file("}" + text("w") + tensor({0, {3, 2}, {1, 3}}) + "s"), std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const fs::path path = dir_.write("cut.bin", whole.substr(0, size));
    ASSERT_NE(error_of([&] { read_torch_file(path); }), "no error") << size;
  }
}

TEST_F(TorchFile, EveryFlippedByteIsReadInBounds) {
  std::ifstream in(file("}" + text("w") + tensor({0, {3, 2}, {1, 3}}) + "s"), std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      const fs::path path = dir_.write("flipped.bin", bytes);
      error_of([&] {
        for (const TensorEntry& entry : read_torch_file(path)) {
          std::string(reinterpret_cast<const char*>(entry.data), entry.bytes);
        }
      });
    }
  }
}

}  // namespace
}  // namespace moebius

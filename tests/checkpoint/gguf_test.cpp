#include "checkpoint/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"

namespace moebius {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// A small file with a value of every kind and two tensors.
std::string small_file() {
  GgufMetadata metadata;
  metadata["a.flag"] = true;
  metadata["a.number"] = std::int64_t{7};
  metadata["a.real"] = 1e-5;
  metadata["a.text"] = std::string("words");
  metadata["a.numbers"] = std::vector<std::int64_t>{1, -2};
  metadata["a.reals"] = std::vector<double>{0.5};
  metadata["a.texts"] = std::vector<std::string>{"x", ""};
  std::vector<GgufTensor> tensors{{"one", GgufType::f32, {3}}, {"two", GgufType::q8_0, {2, 32}}};
  std::string file = gguf_header(metadata, tensors);
  file.resize(gguf_file_bytes(file, tensors), 'x');
  return file;
}

TEST(Gguf, WhatIsWrittenIsRead) {
  const std::string file = small_file();
  const GgufHeader header = parse_gguf(bytes_of(file), "file");
  EXPECT_TRUE(header.boolean_or("a.flag", false));
  EXPECT_EQ(header.integer("a.number", 0, 9), 7);
  EXPECT_EQ(header.number("a.real"), 1e-5);  // not the nearest f32
  EXPECT_EQ(header.string("a.text"), "words");
  EXPECT_EQ(header.integers("a.numbers"), (std::vector<std::int64_t>{1, -2}));
  EXPECT_EQ(header.numbers("a.reals"), std::vector<double>{0.5});
  EXPECT_EQ(header.strings("a.texts"), (std::vector<std::string>{"x", ""}));
  ASSERT_NE(header.find("two"), nullptr);
  EXPECT_EQ(header.find("two")->shape, (Shape{2, 32}));
  EXPECT_EQ(header.find("two")->bytes, gguf_row_bytes(GgufType::q8_0, 64));
  EXPECT_EQ(header.find("two")->offset % 32, 0u);
  EXPECT_EQ(header.find("three"), nullptr);
  EXPECT_THROW(header.integer("a.number", 8, 9), Error);
  EXPECT_THROW(header.integer("a.text", 0, 9), Error);
  EXPECT_THROW(header.string("absent"), Error);
}

TEST(Gguf, EveryPrefixIsRefused) {
  const std::string file = small_file();
  const std::size_t data = parse_gguf(bytes_of(file), "file").find("two")->offset;
  for (std::size_t size = 0; size < data + gguf_row_bytes(GgufType::q8_0, 64); ++size) {
    EXPECT_THROW(parse_gguf(bytes_of(file.substr(0, size)), "file"), Error) << size;
  }
}

TEST(Gguf, NoChangedByteDoesHarm) {
  const std::string file = small_file();
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const char change : {'\x01', '\x80', '\xff'}) {
      std::string other = file;
      other[at] = static_cast<char>(other[at] ^ change);
      try {
        for (const GgufTensor& tensor : parse_gguf(bytes_of(other), "file").tensors) {
          EXPECT_LE(tensor.offset + tensor.bytes, other.size());
        }
      } catch (const Error&) {
        continue;
      }
    }
  }
}

TEST(Gguf, BlocksOfEightBits) {
  std::vector<float> values(64);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = i < 32 ? 0.0F : std::sin(static_cast<float>(i)) * 3;
  }
  std::vector<std::byte> packed(gguf_row_bytes(GgufType::q8_0, 64));
  quantize_q8_0(values.data(), values.size(), packed.data());
  std::vector<float> back(values.size());
  dequantize(GgufType::q8_0, packed.data(), back.size(), back.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(back[i], values[i], 3.0 / 127) << i;
    if (i < 32) {
      EXPECT_EQ(back[i], 0.0F);
    }
  }
}

TEST(Gguf, TypesThatAreNotReadAreRefusedByName) {
  std::vector<GgufTensor> tensors{{"one", GgufType::f32, {256}}};
  const std::string file = gguf_header({}, tensors);
  const std::size_t at = file.find("one") + 3 + 4 + 8;  // behind name, dimensions, size
  for (std::uint32_t number = 0; number < 64; ++number) {
    if (gguf_type_numbered(number)) continue;
    std::string other = file;
    std::memcpy(other.data() + at, &number, sizeof number);
    try {
      parse_gguf(bytes_of(other), "file");
      FAIL() << number;
    } catch (const Error& error) {
      const std::string wanted =
          fmt::format("tensor one: its type {} is not supported", gguf_type_name(number));
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos) << error.what();
      EXPECT_NE(error.hint().find("q4_K"), std::string::npos);
    }
  }
  EXPECT_EQ(gguf_type_name(16), "iq2_xxs");
  EXPECT_EQ(gguf_type_name(63), "number 63");
}

TEST(Gguf, RowsHoldWholeBlocks) {
  for (const GgufType type : gguf_types()) {
    const auto block = static_cast<std::int64_t>(gguf_block_elements(type));
    std::vector<GgufTensor> tensors{{"one", type, {3, 2 * block}}};
    std::string file = gguf_header({}, tensors);
    file.resize(gguf_file_bytes(file, tensors));
    EXPECT_EQ(parse_gguf(bytes_of(file), "file").find("one")->bytes,
              6 * gguf_row_bytes(type, block));
    if (block == 1) continue;
    const std::int64_t columns = 2 * block - 1;
    std::memcpy(file.data() + file.find("one") + 3 + 4, &columns, sizeof columns);
    EXPECT_THROW(parse_gguf(bytes_of(file), "file"), Error) << name_of(type);
  }
}

/// Every field of a block as other types have them is compared with ggml in tests/python; ggml
/// itself has no way to read q8_1.
TEST(Gguf, BlocksOfEightBitsWithTheirSum) {
  std::vector<std::byte> block(gguf_row_bytes(GgufType::q8_1, 32));
  const std::uint16_t d = f32_to_f16(0.25F);
  std::memcpy(block.data(), &d, sizeof d);
  for (int i = 0; i < 32; ++i) {
    block[static_cast<std::size_t>(4 + i)] =
        static_cast<std::byte>(static_cast<std::int8_t>(8 * i - 128));
  }
  std::vector<float> values(32);
  dequantize(GgufType::q8_1, block.data(), values.size(), values.data());
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(values[static_cast<std::size_t>(i)], static_cast<float>(2 * i - 32));
  }
}

}  // namespace
}  // namespace moebius

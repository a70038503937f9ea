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
  EXPECT_EQ(header.find("two")->bytes, 2 * q8_block_bytes);
  EXPECT_EQ(header.find("two")->offset % 32, 0u);
  EXPECT_EQ(header.find("three"), nullptr);
  EXPECT_THROW(header.integer("a.number", 8, 9), Error);
  EXPECT_THROW(header.integer("a.text", 0, 9), Error);
  EXPECT_THROW(header.string("absent"), Error);
}

TEST(Gguf, EveryPrefixIsRefused) {
  const std::string file = small_file();
  const std::size_t data = parse_gguf(bytes_of(file), "file").find("two")->offset;
  for (std::size_t size = 0; size < data + 2 * q8_block_bytes; ++size) {
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
  std::vector<std::byte> packed(2 * q8_block_bytes);
  quantize_q8(values.data(), values.size(), packed.data());
  std::vector<float> back(values.size());
  dequantize_q8(packed.data(), back.size(), back.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(back[i], values[i], 3.0 / 127) << i;
    if (i < 32) {
      EXPECT_EQ(back[i], 0.0F);
    }
  }
}

}  // namespace
}  // namespace moebius

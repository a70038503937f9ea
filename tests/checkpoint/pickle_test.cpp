// Pickles written opcode by opcode: what they describe, and what is refused before it could be.
#include "checkpoint/pickle.h"

#include "checkpoint/raw_zip.h"

namespace moebius {
namespace {

using support::error_of;
using support::le;
using support::mentions;
using Kind = PickleNode::Kind;
using namespace std::string_literals;

constexpr std::string_view allowed[] = {"collections.OrderedDict", "torch.FloatStorage"};

/// Keeps the bytes that the nodes refer to.
struct Parsed {
  std::string bytes;
  Pickle pickle;
  const PickleNode& root() const { return pickle[pickle.root]; }
  const PickleNode& item(std::size_t i) const { return pickle[root().items.at(i)]; }
};

Pickle parse(const std::string& bytes) {
  return read_pickle(std::as_bytes(std::span(bytes)), allowed, "a.bin");
}

std::unique_ptr<Parsed> read(const std::string& body) {
  auto parsed = std::make_unique<Parsed>();
  parsed->bytes = fmt::format("\x80\x02{}.", body);
  parsed->pickle = parse(parsed->bytes);
  return parsed;
}

std::string error(const std::string& body) {
  const std::string message = error_of([&] { read(body); });
  if (message != "no error") {
    EXPECT_TRUE(mentions(message, {"a.bin"}));
  }
  return message;
}

TEST(Pickle, Scalars) {
  EXPECT_EQ(read("N")->root().kind, Kind::none);
  EXPECT_EQ(read("\x88")->root().integer, 1);
  EXPECT_EQ(read("\x89")->root().kind, Kind::boolean);
  const auto integer = [](const std::string& body) {
    const auto parsed = read(body);
    EXPECT_EQ(parsed->root().kind, Kind::integer) << body;
    return parsed->root().integer;
  };
  EXPECT_EQ(integer("K\xFF"), 255);
  EXPECT_EQ(integer("M\xFF\xFF"), 65535);
  EXPECT_EQ(integer("J\xFF\xFF\xFF\xFF"), -1);
  EXPECT_EQ(integer("\x8a\0"s), 0);
  EXPECT_EQ(integer("\x8a\x01\x80"s), -128);
  EXPECT_EQ(integer("\x8a\x02\x80\0"s), 128);
  EXPECT_EQ(integer("\x8a\x08"s + le(INT64_MIN)), INT64_MIN);
  EXPECT_EQ(integer("\x8b\x03\0\0\0\x01\x02\x03"s), 0x030201);
  EXPECT_EQ(read("\x8a\x09"s + std::string(9, '\1'))->root().kind, Kind::opaque);
  EXPECT_EQ(read("G"s + std::string(8, '\0'))->root().kind, Kind::opaque);
  EXPECT_EQ(read("C\x02xy")->root().kind, Kind::opaque);
  EXPECT_EQ(read("X\x03\0\0\0abc"s)->root().text, "abc");
  EXPECT_EQ(read("\x8c\x03"
                 "abc")
                ->root()
                .text,
            "abc");
  EXPECT_EQ(read("\x8d\x03\0\0\0\0\0\0\0abc"s)->root().text, "abc");
}

TEST(Pickle, ContainersAndMemo) {
  const auto tuple = read("K\x01q\x05K\x02K\x03\x87");
  ASSERT_EQ(tuple->root().items.size(), 3u);
  EXPECT_EQ(tuple->item(2).integer, 3);
  const auto list = read(
      "](K\x01K\x02"
      "eK\x03"
      "a");
  EXPECT_EQ(list->root().kind, Kind::list);
  EXPECT_EQ(list->item(2).integer, 3);
  const auto dict = read("}q\0(K\x01K\x02K\x03K\x04uK\x05K\x06sh\0\x86"s);
  EXPECT_EQ(dict->item(0).items.size(), 6u);
  EXPECT_EQ(dict->root().items[0], dict->root().items[1]);
  EXPECT_EQ(read("(K\x01K\x02"
                 "d")
                ->root()
                .items.size(),
            2u);
  EXPECT_EQ(read("K\x07\x94h\0\x86"s)->item(1).integer, 7);
  EXPECT_EQ(read("(K\x01K\x02"
                 "1K\x09")
                ->root()
                .integer,
            9);
  EXPECT_EQ(read("K\x01(0")->root().integer, 1);
  EXPECT_EQ(read("K\x01"
                 "2\x86")
                ->item(1)
                .integer,
            1);
}

TEST(Pickle, CallsAreWrittenDown) {
  const auto call = read(
      "ccollections\nOrderedDict\n)RK\x01K\x02sN"
      "b");
  EXPECT_EQ(call->root().kind, Kind::call);
  EXPECT_EQ(call->pickle[call->root().callee].text, "collections.OrderedDict");
  EXPECT_EQ(call->item(1).integer, 2);
  const auto stack = read(
      "\x8c\x05torch\x8c\x0c"
      "FloatStorage\x93");
  EXPECT_EQ(stack->root().text, "torch.FloatStorage");
  const auto persistent = read("K\x05Q");
  EXPECT_EQ(persistent->root().kind, Kind::persistent);
  EXPECT_EQ(persistent->pickle[persistent->root().argument].integer, 5);
}

TEST(Pickle, OtherGlobalsAreNamedAndRefused) {
  for (const auto& [module, name] : {std::pair{"os"s, "system"s},
                                     {"posix", "system"},
                                     {"builtins", "eval"},
                                     {"builtins", "getattr"},
                                     {"torch", "FloatStorag"},
                                     {"torch.FloatStorage", ""},
                                     {"", "torch.FloatStorage"},
                                     {"collections", "OrderedDict.__class__"},
                                     {"collections.OrderedDict", "__reduce__"}}) {
    const std::string dotted = fmt::format("{}.{}", module, name);
    EXPECT_TRUE(mentions(error(fmt::format("c{}\n{}\n", module, name)), {dotted, "only tensors"}));
    const auto text = [](const std::string& t) {
      return fmt::format("\x8c{}{}", static_cast<char>(t.size()), t);
    };
    EXPECT_TRUE(mentions(error(text(module) + text(name) + "\x93"), {dotted, "only tensors"}));
  }
}

TEST(Pickle, OpcodesThatMakeOtherObjectsAreRefused) {
  for (const char* code :
       {"i", "o", "\x81", "\x92", "\x82", "\x83", "\x84", "P",    "S",    "V",    "I",
        "F", "L", "p",    "g",    "T",    "U",    "\x8f", "\x90", "\x91", "\x97", "\x98"}) {
    EXPECT_TRUE(mentions(error("K\x01K\x01"s + code + "x\n"), {"opcode"})) << code;
  }
}

TEST(Pickle, CallingWhatIsNoFunctionIsAnError) {
  EXPECT_TRUE(mentions(error("K\x01)R"), {"no function"}));
  EXPECT_TRUE(mentions(error("ccollections\nOrderedDict\n]R"), {"no function"}));
  EXPECT_TRUE(mentions(error("ccollections\nOrderedDict\n)R)R"), {"no function"}));
  EXPECT_TRUE(mentions(error("K\x01K\x02\x93"), {"no name"}));
  EXPECT_TRUE(mentions(error("K\x01K\x02"
                             "b"),
                       {"state"}));
}

TEST(Pickle, AStackThatDoesNotFitIsAnError) {
  for (const std::string& body : {""s,
                                  "0"s,
                                  "1"s,
                                  "2"s,
                                  "t"s,
                                  "\x85"s,
                                  "K\x01\x86"s,
                                  "}K\x01s"s,
                                  "}(K\x01u"s,
                                  "(K\x01"
                                  "d"s,
                                  "K\x01K\x02K\x03s"s,
                                  "K\x01K\x02"
                                  "a"s,
                                  "K\x01(e"s,
                                  "R"s,
                                  "b"s,
                                  "Q"s,
                                  "\x93"s,
                                  "h\0"s,
                                  "h\xFF"s,
                                  "K\x01r\xFF\xFF\xFF\xFFh\0"s,
                                  "}(K\x01(K\x02u"s,
                                  "(K\x01\x86"s,
                                  "q\0"s,
                                  "\x94"s}) {
    EXPECT_NE(error(body), "no error") << body;
  }
}

TEST(Pickle, HugeMemoStackAndSizesAreErrors) {
  EXPECT_TRUE(mentions(error("K\x01r\xFF\xFF\xFF\xFF"), {"memo"}));
  EXPECT_TRUE(mentions(error(std::string(5 << 20, '(')), {"stack"}));
  EXPECT_TRUE(mentions(error("N"s + std::string(5 << 20, '2')), {"stack"}));
  EXPECT_TRUE(mentions(error(std::string(5 << 20, ')')), {"too many"}));
  EXPECT_TRUE(mentions(error(std::string(65 << 20, 'N')), {"more than any"}));
  EXPECT_TRUE(mentions(error("\x8d"s + le(UINT64_MAX)), {"ends too early"}));
  EXPECT_TRUE(mentions(error("\x8e"s + le(UINT64_MAX - 8)), {"ends too early"}));
  EXPECT_TRUE(mentions(error("X\xFF\xFF\xFF\xFF"
                             "abc"),
                       {"ends too early"}));
}

TEST(Pickle, WhatHoldsItselfIsReadAndEnds) {
  const auto list = read(
      "]q\0h\0"
      "a"s);
  EXPECT_EQ(list->root().items[0], list->pickle.root);
  const auto dict = read("}q\0K\x01h\0s"s);
  EXPECT_EQ(dict->root().items[1], dict->pickle.root);
}

TEST(Pickle, CutAnywhereAndOtherProtocolsAreErrors) {
  const std::string whole = "\x80\x04\x95" + le<std::uint64_t>(40) +
                            "}(\x8c\x03"
                            "abcG12345678K\x01"
                            "Nu."s;
  ASSERT_EQ(error_of([&] { parse(whole); }), "no error");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(error_of([&] { parse(whole.substr(0, size)); }), "no error") << size;
  }
  for (const char* start : {"\x80\x01N.", "\x80\x06N.", "N.", "\x80\xFFN.", "(dp0\n."}) {
    EXPECT_NE(error_of([&] { parse(start); }), "no error") << start;
  }
}

}  // namespace
}  // namespace moebius

// Parser of Python's pickle format (protocols 2 to 5). A pickle is a program for a stack machine;
// here calls become nodes of a tree and are never executed, and only functions of a fixed list may
// be named.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace moebius {

/// A value that an opcode of a pickle produced.
struct PickleNode {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    text,
    opaque,  ///< a scalar of no use for weights: a float, bytes, an integer beyond 64 bits
    tuple,
    list,
    dict,
    global,      ///< `text` is "module.name", one of the allowed
    call,        ///< of `callee` with the tuple `argument`
    persistent,  ///< an object outside the pickle (a storage), by the id `argument`
  };
  using Ref = std::uint32_t;  ///< number of a node

  Kind kind = Kind::none;
  Ref callee = 0, argument = 0;
  std::int64_t integer = 0;
  std::string_view text;   ///< refers to the pickle's bytes
  std::vector<Ref> items;  ///< elements; key, value, key, value, ... of a dict or a call's result
};

/// The nodes of a pickle and the number of the result. Lists and dicts may contain themselves.
struct Pickle {
  std::vector<PickleNode> nodes;
  PickleNode::Ref root = 0;

  const PickleNode& operator[](PickleNode::Ref ref) const { return nodes[ref]; }
};

/// Parses `bytes`, which the result refers to. Throws Error, naming `where`, for a global that
/// `allowed` does not list, for opcodes that no weights need, and for malformed or oversized input.
Pickle read_pickle(std::span<const std::byte> bytes, std::span<const std::string_view> allowed,
                   std::string_view where);

}  // namespace moebius

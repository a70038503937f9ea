// Python's pickle format (protocols 2 to 5), read as a description. A pickle is a program that
// asks for functions and calls them; here a call is written down, never made, and only functions
// of a fixed list may be named at all.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace moebius {

/// What one step of a pickle made.
struct PickleNode {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    text,
    opaque,  ///< a scalar that nothing here reads: a float, bytes, an integer beyond 64 bits
    tuple,
    list,
    dict,
    global,      ///< `text` is "module.name", one of those allowed
    call,        ///< of `callee` with the tuple `argument`
    persistent,  ///< what torch.save keeps outside the pickle, by the id `argument`
  };
  using Ref = std::uint32_t;  ///< number of a node

  Kind kind = Kind::none;
  Ref callee = 0, argument = 0;
  std::int64_t integer = 0;
  std::string_view text;   ///< lies in the pickle
  std::vector<Ref> items;  ///< elements; key, value, key, value, ... of a dict or a call's result
};

/// The nodes of a pickle and which of them is the result. Lists and dicts may hold themselves.
struct Pickle {
  std::vector<PickleNode> nodes;
  PickleNode::Ref root = 0;

  const PickleNode& operator[](PickleNode::Ref ref) const { return nodes[ref]; }
};

/// Reads `bytes`, which the result refers to. Throws Error, naming `where`, for a global that
/// `allowed` does not list, for opcodes that no weights need, and for malformed or oversized input.
Pickle read_pickle(std::span<const std::byte> bytes, std::span<const std::string_view> allowed,
                   std::string_view where);

}  // namespace moebius

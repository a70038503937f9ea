#include "checkpoint/pickle.h"

#include <array>

#include "checkpoint/pickle_machine.h"

namespace moebius {
namespace {

using Kind = PickleNode::Kind;

/// An opcode and what it does; the names are those of Python's pickletools.
struct Row {
  std::uint8_t code;
  void (*run)(PickleMachine& m);
};

constexpr Row rows[] = {
    {/*NONE*/ 'N', [](PickleMachine& m) { m.make(Kind::none); }},
    {/*NEWTRUE*/ 0x88, [](PickleMachine& m) { m.make_boolean(true); }},
    {/*NEWFALSE*/ 0x89, [](PickleMachine& m) { m.make_boolean(false); }},
    {/*BININT*/ 'J', [](PickleMachine& m) { m.make_integer(m.number<std::int32_t>()); }},
    {/*BININT1*/ 'K', [](PickleMachine& m) { m.make_integer(m.number<std::uint8_t>()); }},
    {/*BININT2*/ 'M', [](PickleMachine& m) { m.make_integer(m.number<std::uint16_t>()); }},
    {/*LONG1*/ 0x8a, [](PickleMachine& m) { m.make_long(m.number<std::uint8_t>()); }},
    {/*LONG4*/ 0x8b, [](PickleMachine& m) { m.make_long(m.number<std::uint32_t>()); }},
    {/*BINFLOAT*/ 'G', [](PickleMachine& m) { m.make_opaque(sizeof(double)); }},
    {/*SHORT_BINUNICODE*/ 0x8c, [](PickleMachine& m) { m.make_text(m.number<std::uint8_t>()); }},
    {/*BINUNICODE*/ 'X', [](PickleMachine& m) { m.make_text(m.number<std::uint32_t>()); }},
    {/*BINUNICODE8*/ 0x8d, [](PickleMachine& m) { m.make_text(m.number<std::uint64_t>()); }},
    {/*SHORT_BINBYTES*/ 'C', [](PickleMachine& m) { m.make_opaque(m.number<std::uint8_t>()); }},
    {/*BINBYTES*/ 'B', [](PickleMachine& m) { m.make_opaque(m.number<std::uint32_t>()); }},
    {/*BINBYTES8*/ 0x8e, [](PickleMachine& m) { m.make_opaque(m.number<std::uint64_t>()); }},
    {/*BYTEARRAY8*/ 0x96, [](PickleMachine& m) { m.make_opaque(m.number<std::uint64_t>()); }},

    {/*EMPTY_TUPLE*/ ')', [](PickleMachine& m) { m.make(Kind::tuple); }},
    {/*TUPLE*/ 't', [](PickleMachine& m) { m.make_items(Kind::tuple, m.pop_mark()); }},
    {/*TUPLE1*/ 0x85, [](PickleMachine& m) { m.make_items(Kind::tuple, m.pop_some(1)); }},
    {/*TUPLE2*/ 0x86, [](PickleMachine& m) { m.make_items(Kind::tuple, m.pop_some(2)); }},
    {/*TUPLE3*/ 0x87, [](PickleMachine& m) { m.make_items(Kind::tuple, m.pop_some(3)); }},
    {/*EMPTY_LIST*/ ']', [](PickleMachine& m) { m.make(Kind::list); }},
    {/*LIST*/ 'l', [](PickleMachine& m) { m.make_items(Kind::list, m.pop_mark()); }},
    {/*APPEND*/ 'a', [](PickleMachine& m) { m.extend_list(m.pop_some(1)); }},
    {/*APPENDS*/ 'e', [](PickleMachine& m) { m.extend_list(m.pop_mark()); }},
    {/*EMPTY_DICT*/ '}', [](PickleMachine& m) { m.make(Kind::dict); }},
    {/*DICT*/ 'd', [](PickleMachine& m) { m.make_dict(m.pop_mark()); }},
    {/*SETITEM*/ 's', [](PickleMachine& m) { m.extend_dict(m.pop_some(2)); }},
    {/*SETITEMS*/ 'u', [](PickleMachine& m) { m.extend_dict(m.pop_mark()); }},

    {/*MARK*/ '(', [](PickleMachine& m) { m.mark(); }},
    {/*POP*/ '0', [](PickleMachine& m) { m.drop(); }},
    {/*POP_MARK*/ '1', [](PickleMachine& m) { m.pop_mark(); }},
    {/*DUP*/ '2', [](PickleMachine& m) { m.push(m.top()); }},
    {/*BINPUT*/ 'q', [](PickleMachine& m) { m.put(m.number<std::uint8_t>()); }},
    {/*LONG_BINPUT*/ 'r', [](PickleMachine& m) { m.put(m.number<std::uint32_t>()); }},
    {/*MEMOIZE*/ 0x94, [](PickleMachine& m) { m.memoize(); }},
    {/*BINGET*/ 'h', [](PickleMachine& m) { m.get(m.number<std::uint8_t>()); }},
    {/*LONG_BINGET*/ 'j', [](PickleMachine& m) { m.get(m.number<std::uint32_t>()); }},

    {/*GLOBAL*/ 'c', [](PickleMachine& m) { m.make_line_global(); }},
    {/*STACK_GLOBAL*/ 0x93, [](PickleMachine& m) { m.make_stack_global(); }},
    {/*REDUCE*/ 'R', [](PickleMachine& m) { m.make_call(); }},
    {/*BUILD*/ 'b', [](PickleMachine& m) { m.build(); }},
    {/*BINPERSID*/ 'Q', [](PickleMachine& m) { m.make_persistent(); }},
    {/*FRAME*/ 0x95,
     [](PickleMachine& m) { m.take(sizeof(std::uint64_t)); }},  // a hint for streams
};
constexpr std::uint8_t op_proto = 0x80, op_stop = '.';

}  // namespace

Pickle PickleMachine::run() {
  if (bytes_.size() > max_bytes) {
    fail("{}: {} bytes of pickle are more than any weights need", where_, bytes_.size());
  }
  if (number<std::uint8_t>() != op_proto) damaged("does not begin with a protocol");
  if (const auto protocol = number<std::uint8_t>(); protocol < 2 || protocol > 5) {
    fail("{}: pickle protocol {} is not one of 2 to 5", where_, protocol);
  }
  std::array<const Row*, 256> by_code{};
  for (const Row& row : rows) by_code[row.code] = &row;
  for (std::uint8_t code; (code = number<std::uint8_t>()) != op_stop;) {
    if (by_code[code] == nullptr) {
      fail("{}: the pickle holds opcode 0x{:02x}, which no weights need; only tensors are read",
           where_, code);
    }
    by_code[code]->run(*this);
  }
  out_.root = pop();
  return std::move(out_);
}

Pickle read_pickle(std::span<const std::byte> bytes, std::span<const std::string_view> allowed,
                   std::string_view where) {
  return PickleMachine(bytes, allowed, where).run();
}

}  // namespace moebius

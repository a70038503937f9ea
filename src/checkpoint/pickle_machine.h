// The stack machine under `read_pickle`.
#pragma once

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "checkpoint/pickle.h"

namespace moebius {

/// The state of parsing one pickle. Opcodes are composed of its functions, which all check what
/// they take, for the opcodes may come in any order.
class PickleMachine {
 public:
  using Kind = PickleNode::Kind;
  using Ref = PickleNode::Ref;

  PickleMachine(std::span<const std::byte> bytes, std::span<const std::string_view> allowed,
                std::string_view where)
      : bytes_(bytes), allowed_(allowed), where_(where) {}

  /// The whole of `bytes`; throws Error naming the opcode that is not understood.
  Pickle run();

  [[noreturn]] void damaged(std::string_view what) const {
    throw Error(fmt::format("{}: pickle {} (byte {})", where_, what, at_),
                "the file is truncated or damaged; fetch it again");
  }

  // ---- Bytes ----
  std::span<const std::byte> take(std::uint64_t size) {
    if (size > bytes_.size() - at_) damaged("ends too early");
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view text(std::uint64_t size) {
    const auto bytes = take(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string_view line() {
    const auto rest = bytes_.subspan(at_);
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    if (end == rest.end()) damaged("ends too early");
    const std::string_view found = text(static_cast<std::size_t>(end - rest.begin()));
    take(1);
    return found;
  }

  // ---- Stack and nodes ----
  void mark() {
    if (marks_.size() >= max_stack) damaged("fills the stack");
    marks_.push_back(stack_.size());
  }
  void push(Ref ref) {
    if (stack_.size() >= max_stack) damaged("fills the stack");
    stack_.push_back(ref);
  }
  Ref pop() {
    const std::size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() <= floor) damaged("takes from an empty stack");
    const Ref ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  Ref top() {
    const Ref ref = pop();
    stack_.push_back(ref);
    return ref;
  }
  /// What was pushed since the last mark.
  std::vector<Ref> pop_mark() {
    if (marks_.empty()) damaged("lacks a mark");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Ref> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  /// The top value, or a mark if it is the top.
  void drop() {
    if (!marks_.empty() && marks_.back() == stack_.size()) {
      marks_.pop_back();
    } else {
      pop();
    }
  }
  std::vector<Ref> pop_some(std::size_t count) {
    std::vector<Ref> items(count);
    for (std::size_t i = count; i > 0; --i) items[i - 1] = pop();
    return items;
  }
  PickleNode& make(Kind kind) {
    if (out_.nodes.size() >= max_nodes) damaged("holds too many values");
    push(static_cast<Ref>(out_.nodes.size()));
    out_.nodes.emplace_back().kind = kind;
    return out_.nodes.back();
  }
  void make_items(Kind kind, std::vector<Ref> items) { make(kind).items = std::move(items); }
  void make_integer(std::int64_t value) { make(Kind::integer).integer = value; }
  void make_text(std::uint64_t size) {
    const std::string_view value = text(size);
    make(Kind::text).text = value;
  }
  void make_opaque(std::uint64_t size) {
    take(size);
    make(Kind::opaque);
  }
  void make_boolean(bool value) { make(Kind::boolean).integer = value ? 1 : 0; }

  /// Little-endian two's complement of any length.
  void make_long(std::uint64_t size) {
    if (size > sizeof(std::int64_t)) return make_opaque(size);
    const auto bytes = take(size);
    const bool negative = size > 0 && (bytes.back() & std::byte{0x80}) != std::byte{0};
    std::int64_t value = negative ? -1 : 0;
    if (size > 0) std::memcpy(&value, bytes.data(), size);
    make_integer(value);
  }

  // ---- Memo ----
  void memoize() { put(memo_.size()); }
  void put(std::size_t place) {
    if (place >= max_nodes) damaged("fills the memo");
    if (place >= memo_.size()) memo_.resize(place + 1, nothing);
    memo_[place] = top();
  }
  void get(std::size_t place) {
    if (place >= memo_.size() || memo_[place] == nothing) damaged("recalls what it never stored");
    push(memo_[place]);
  }

  // ---- Containers and calls ----
  void extend_list(const std::vector<Ref>& items) {
    PickleNode& node = out_.nodes[top()];
    if (node.kind != Kind::list) damaged("appends to what is no list");
    node.items.insert(node.items.end(), items.begin(), items.end());
  }
  void extend_dict(const std::vector<Ref>& items) {
    PickleNode& node = out_.nodes[top()];
    if (node.kind != Kind::dict && node.kind != Kind::call) damaged("adds keys to what has none");
    if (items.size() % 2 != 0) damaged("has a key without a value");
    node.items.insert(node.items.end(), items.begin(), items.end());
  }
  void make_dict(std::vector<Ref> items) {
    if (items.size() % 2 != 0) damaged("has a key without a value");
    make_items(Kind::dict, std::move(items));
  }
  void make_global(std::string_view module, std::string_view name) {
    const auto known = std::find_if(allowed_.begin(), allowed_.end(), [&](std::string_view each) {
      return each.size() == module.size() + 1 + name.size() && each.starts_with(module) &&
             each[module.size()] == '.' && each.ends_with(name);
    });
    if (known == allowed_.end()) {
      throw Error(fmt::format("{}: the pickle asks for {}.{}; only tensors are read", where_,
                              module.substr(0, 200), name.substr(0, 200)),
                  "nothing was executed; save the weights alone, best as safetensors");
    }
    make(Kind::global).text = *known;
  }
  void make_line_global() {
    const std::string_view module = line();
    make_global(module, line());
  }
  void make_stack_global() {
    const PickleNode& name = out_.nodes[pop()];
    const PickleNode& module = out_.nodes[pop()];
    if (name.kind != Kind::text || module.kind != Kind::text) damaged("asks for no name");
    make_global(module.text, name.text);
  }
  void make_call() {
    const Ref argument = pop(), callee = pop();
    if (out_.nodes[callee].kind != Kind::global || out_.nodes[argument].kind != Kind::tuple) {
      damaged("calls what is no function");
    }
    PickleNode& node = make(Kind::call);
    node.callee = callee;
    node.argument = argument;
  }
  void make_persistent() {
    const Ref id = pop();
    make(Kind::persistent).argument = id;
  }
  /// The state of an object (torch.save stores versions of modules in it), which is discarded.
  void build() {
    pop();
    if (out_.nodes[top()].kind != Kind::call) damaged("sets the state of what has none");
  }

 private:
  // Enough for 250,000 tensors; bounds the memory that a hostile pickle can fill to below 1 GB.
  static constexpr std::size_t max_bytes = 64 << 20, max_nodes = 4 << 20, max_stack = 4 << 20;
  static constexpr Ref nothing = UINT32_MAX;
  std::span<const std::byte> bytes_;
  std::span<const std::string_view> allowed_;
  std::string_view where_;
  std::size_t at_ = 0;
  std::vector<Ref> stack_, memo_;
  std::vector<std::size_t> marks_;  // heights of the stack
  Pickle out_;
};

}  // namespace moebius

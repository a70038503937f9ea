// Names of an enum's values, as options and files write them.
//
// An enum with the values 0, 1, 2, ... gets names by a function beside it, found by its namespace:
//   enum class Precision { f32, mixed, bf16 };
//   constexpr auto names_of(Precision) { return std::array{"f32", "mixed", "bf16"}; }
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>

namespace moebius {

template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E value) {
  { names_of(value)[0] } -> std::convertible_to<std::string_view>;
};

template <NamedEnum E>
constexpr std::string_view name_of(E value) {
  return names_of(value)[static_cast<std::size_t>(value)];
}

/// The value of that name, or nothing.
template <NamedEnum E>
constexpr std::optional<E> value_named(std::string_view name) {
  const auto names = names_of(E{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

}  // namespace moebius

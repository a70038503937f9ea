// What every fuzz target begins with. A target reads its input as the program reads a file from a
// stranger, and uses what came out. Any Error is a good end; any other exception, a crash, a leak,
// a hang or a hunger for memory is a find.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"

namespace moebius::fuzz {

/// To be defined by each target.
void try_input(std::span<const std::byte> input);

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads every byte, so that a sanitizer looks at each.
inline void look_at(std::span<const std::byte> bytes) {
  std::byte all{};
  for (const std::byte each : bytes) all ^= each;
  [[maybe_unused]] volatile std::byte seen = all;
}

}  // namespace moebius::fuzz

/// What libFuzzer calls; a target is one file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    moebius::fuzz::try_input(std::as_bytes(std::span(data, size)));
  } catch (const moebius::Error&) {
  }
  return 0;
}

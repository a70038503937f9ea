// Safetensors files put together by hand, lies included.
#pragma once

#include <cstring>
#include <optional>

#include "base/support.h"
#include "checkpoint/safetensors.h"

namespace moebius::support {

/// Length field, header, data; `length` replaces the true length where it is given.
inline std::string raw_safetensors(const std::string& header, const std::string& data,
                                   std::optional<std::uint64_t> length = {}) {
  const std::uint64_t claimed = length.value_or(header.size());
  std::string bytes(sizeof claimed, '\0');
  std::memcpy(bytes.data(), &claimed, sizeof claimed);
  return bytes + header + data;
}

/// A file of f32 tensors, each with its number of elements, filled with 1.
inline std::string f32_file(const std::vector<std::pair<std::string, Shape>>& tensors) {
  std::vector<TensorPlan> plans;
  std::size_t at = 0;
  for (const auto& [name, shape] : tensors) {
    const std::size_t bytes = 4 * static_cast<std::size_t>(element_count(shape));
    plans.push_back({name, DType::f32, shape, at, bytes});
    at += bytes;
  }
  std::string data(at, '\0');
  for (std::size_t i = 0; i < at; i += 4) {
    const float one = 1;
    std::memcpy(data.data() + i, &one, 4);
  }
  return safetensors_header(plans) + data;
}

}  // namespace moebius::support

// How much memory there is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace moebius {

/// Memory that the system says it could give, in bytes; 0 if it says nothing.
std::int64_t available_memory();

/// Asks for large pages behind memory that nobody has touched yet: what is read from end to end is
/// read faster. A hint; where there are none nothing happens.
void prefer_large_pages(void* memory, std::size_t bytes);

/// Throws Error that names `what`, how much it needs and how much there is, unless that suffices.
void require_memory(std::int64_t bytes, std::string_view what, std::string_view way_out);

}  // namespace moebius

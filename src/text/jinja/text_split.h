// Splitting, replacing and repeating strings.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja/heap.h"

namespace moebius::jinja {

/// `str.split(separator, limit)`, or `rsplit`; a negative limit is none.
Value split_at(Heap& heap, std::string_view text, std::string_view separator, std::int64_t limit,
               bool from_end);
/// The same, at runs of white space.
Value split_at_space(Heap& heap, std::string_view text, std::int64_t limit, bool from_end);

std::string_view join(Heap& heap, const std::vector<std::string_view>& parts,
                      std::string_view separator);
/// `str.replace`; a negative limit means no limit.
std::string_view replace(Heap& heap, std::string_view text, std::string_view from,
                         std::string_view to, std::int64_t limit);
/// `text * count`
std::string_view repeat(Heap& heap, std::string_view text, std::int64_t count);

}  // namespace moebius::jinja

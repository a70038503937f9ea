// Zip archives and torch.save files put together by hand, lies included.
#pragma once

#include <functional>

#include "base/support.h"

namespace moebius::support {

template <class T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// An entry as it is written; the fields that may lie have values of their own.
struct RawEntry {
  std::string name, data;
  std::uint16_t flags = 0, method = 0;
  std::optional<std::uint32_t> size = {}, compressed = {}, offset = {};
  std::optional<std::string> local_name = {};
  std::string extra = {};  ///< in the directory
};

/// What the end of the archive says, open to change.
struct RawEnd {
  std::uint16_t disk = 0, entries = 0;
  std::uint32_t size = 0, offset = 0;
  std::string before = {}, comment = {};  ///< `before`: a zip64 end and locator
};

inline std::string raw_zip(const std::vector<RawEntry>& entries,
                           const std::function<void(RawEnd&)>& change = {}) {
  std::string out, directory;
  for (const RawEntry& entry : entries) {
    const auto offset = static_cast<std::uint32_t>(out.size());
    const auto size = static_cast<std::uint32_t>(entry.data.size());
    const std::string local = entry.local_name.value_or(entry.name);
    const auto sizes = le(entry.compressed.value_or(size)) + le(entry.size.value_or(size));
    out += "PK\x03\x04" + le<std::uint16_t>(20) + le(entry.flags) + le(entry.method) +
           std::string(8, '\0') + sizes + le(static_cast<std::uint16_t>(local.size())) +
           le<std::uint16_t>(0) + local + entry.data;
    directory += "PK\x01\x02" + le<std::uint32_t>(20) + le(entry.flags) + le(entry.method) +
                 std::string(8, '\0') + sizes + le(static_cast<std::uint16_t>(entry.name.size())) +
                 le(static_cast<std::uint16_t>(entry.extra.size())) + std::string(10, '\0') +
                 le(entry.offset.value_or(offset)) + entry.name + entry.extra;
  }
  RawEnd end;
  end.entries = static_cast<std::uint16_t>(entries.size());
  end.size = static_cast<std::uint32_t>(directory.size());
  end.offset = static_cast<std::uint32_t>(out.size());
  if (change) change(end);
  return out + directory + end.before + "PK\x05\x06" + le(end.disk) + le<std::uint16_t>(0) +
         le(end.entries) + le(end.entries) + le(end.size) + le(end.offset) +
         le(static_cast<std::uint16_t>(end.comment.size())) + end.comment;
}

/// The zip64 end and locator of a directory; they begin at `at` of the file.
inline std::string raw_zip64_end(std::uint64_t entries, std::uint64_t size, std::uint64_t offset,
                                 std::uint64_t at) {
  return "PK\x06\x06" + le<std::uint64_t>(44) + std::string(12, '\0') + le(entries) + le(entries) +
         le(size) + le(offset) + "PK\x06\x07" + le<std::uint32_t>(0) + le(at) +
         le<std::uint32_t>(1);
}

}  // namespace moebius::support

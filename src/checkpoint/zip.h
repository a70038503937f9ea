// The central directory of a zip archive as torch.save writes it: entries are uncompressed, so each
// is a range of the mapped file.
#pragma once

#include <map>
#include <span>
#include <string_view>

#include "base/files.h"

namespace moebius {

struct ZipEntry {
  std::span<const std::byte> bytes;  ///< as stored
  bool compressed = false;
};
using ZipEntries = std::map<std::string_view, ZipEntry>;  ///< by name

/// Every entry, zip64 included; names and bytes refer to `file`. Throws Error for archives that are
/// encrypted, split or truncated, and for entries that are duplicate, outside the file or overlap.
/// Checksums are not verified: that would read all weights.
ZipEntries read_zip(const MappedFile& file);

}  // namespace moebius

// The directory of a zip archive, as torch.save writes one: entries lie in it uncompressed, so each
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

/// Every entry; names and bytes lie in `file`. Zip64 too. Throws Error for what is encrypted, split
/// over disks, cut off, named twice, outside the file or over another entry. Checksums are not
/// looked at: that would read all weights.
ZipEntries read_zip(const MappedFile& file);

}  // namespace moebius

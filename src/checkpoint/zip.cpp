#include "checkpoint/zip.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace moebius {
namespace {

constexpr std::uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50;
constexpr std::uint32_t end_signature = 0x06054b50, end64_signature = 0x06064b50;
constexpr std::uint32_t locator_signature = 0x07064b50;
constexpr std::size_t local_size = 30, central_size = 46, end_size = 22, end64_size = 56;
constexpr std::size_t locator_size = 20, longest_comment = 0xFFFF;
constexpr std::uint32_t in_zip64 = 0xFFFFFFFF;  // "see the zip64 field"

/// Little-endian numbers of a mapped file; every access is checked.
class Bytes {
 public:
  explicit Bytes(const MappedFile& file) : file_(file) {}

  template <class T>
  T number(std::size_t at) const {
    T value;
    std::memcpy(&value, range(at, sizeof value).data(), sizeof value);
    return value;
  }
  std::span<const std::byte> range(std::uint64_t at, std::uint64_t size) const {
    const auto all = file_.bytes();
    if (at > all.size() || size > all.size() - at) {
      damaged(fmt::format("{} bytes at {} lie outside the file", size, at));
    }
    return all.subspan(at, size);
  }
  std::string_view text(std::size_t at, std::size_t size) const {
    const auto bytes = range(at, size);
    return {reinterpret_cast<const char*>(bytes.data()), size};
  }
  std::size_t size() const { return file_.bytes().size(); }
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(fmt::format("{}: zip archive: {}", file_.path().string(), what),
                "the file is truncated or damaged; fetch it again");
  }

 private:
  const MappedFile& file_;
};

/// Position of the central directory.
struct Directory {
  std::uint64_t offset = 0, size = 0, entries = 0;
  std::uint64_t limit = 0;  ///< where it must end at the latest
};

std::size_t find_end(const Bytes& bytes) {
  const std::size_t farthest = std::min(bytes.size(), end_size + longest_comment);
  for (std::size_t back = end_size; back <= farthest; ++back) {
    const std::size_t at = bytes.size() - back;
    if (bytes.number<std::uint32_t>(at) == end_signature &&
        bytes.number<std::uint16_t>(at + 20) == back - end_size) {
      return at;
    }
  }
  bytes.damaged("its end is missing");
}

Directory find_directory(const Bytes& bytes) {
  const std::size_t end = find_end(bytes);
  Directory found;
  found.entries = bytes.number<std::uint16_t>(end + 10);
  found.size = bytes.number<std::uint32_t>(end + 12);
  found.offset = bytes.number<std::uint32_t>(end + 16);
  found.limit = end;
  std::uint64_t disks = bytes.number<std::uint32_t>(end + 4);  // this one's and the directory's
  const bool has_locator =
      end >= locator_size && bytes.number<std::uint32_t>(end - locator_size) == locator_signature;
  if (has_locator) {
    const auto at = bytes.number<std::uint64_t>(end - locator_size + 8);
    if (at > end - locator_size || end - locator_size - at < end64_size ||
        bytes.number<std::uint32_t>(at) != end64_signature) {
      bytes.damaged("the zip64 end is not where it should be");
    }
    disks = bytes.number<std::uint64_t>(at + 16);
    found.entries = bytes.number<std::uint64_t>(at + 32);
    found.size = bytes.number<std::uint64_t>(at + 40);
    found.offset = bytes.number<std::uint64_t>(at + 48);
    found.limit = at;
  }
  if (disks != 0) bytes.damaged("it is split over several files");
  if (found.offset > found.limit || found.size > found.limit - found.offset) {
    bytes.damaged("the directory lies outside the file");
  }
  if (found.entries > found.size / central_size) {
    bytes.damaged(fmt::format("{} entries do not fit into its directory", found.entries));
  }
  return found;
}

/// An entry as the central directory has it.
struct Entry {
  std::string_view name;
  std::uint64_t stored = 0, size = 0, offset = 0;  ///< `offset` of the local header
  bool compressed = false;
};

/// Takes the 64-bit values of extra field 1 where the 32-bit ones refer to it.
void apply_zip64(const Bytes& bytes, std::size_t extra, std::size_t length, Entry& entry) {
  for (std::size_t at = extra; at + 4 <= extra + length;) {
    const auto kind = bytes.number<std::uint16_t>(at);
    const std::size_t end = at + 4 + bytes.number<std::uint16_t>(at + 2);
    if (end > extra + length) bytes.damaged(fmt::format("entry {} is malformed", entry.name));
    std::size_t next = at + 4;
    if (kind == 1) {
      for (std::uint64_t* value : {&entry.size, &entry.stored, &entry.offset}) {
        if (*value != in_zip64) continue;
        if (next + 8 > end) bytes.damaged(fmt::format("entry {} lacks a size", entry.name));
        *value = bytes.number<std::uint64_t>(next);
        next += 8;
      }
    }
    at = end;
  }
}

/// Reads the entry at `at` and advances `at` to the next.
Entry read_entry(const Bytes& bytes, const Directory& directory, std::size_t& at) {
  const std::size_t end = directory.offset + directory.size;
  if (end - at < central_size || bytes.number<std::uint32_t>(at) != central_signature) {
    bytes.damaged("its directory is malformed");
  }
  const std::size_t name = bytes.number<std::uint16_t>(at + 28);
  const std::size_t extra = bytes.number<std::uint16_t>(at + 30);
  const std::size_t comment = bytes.number<std::uint16_t>(at + 32);
  if (end - at - central_size < name + extra + comment) {
    bytes.damaged("its directory is malformed");
  }
  Entry entry;
  entry.name = bytes.text(at + central_size, name);
  entry.stored = bytes.number<std::uint32_t>(at + 20);
  entry.size = bytes.number<std::uint32_t>(at + 24);
  entry.offset = bytes.number<std::uint32_t>(at + 42);
  apply_zip64(bytes, at + central_size + name, extra, entry);
  if (bytes.number<std::uint16_t>(at + 8) & 1) {
    bytes.damaged(fmt::format("entry {} is encrypted", entry.name));
  }
  entry.compressed = bytes.number<std::uint16_t>(at + 10) != 0;
  if (!entry.compressed && entry.stored != entry.size) {
    bytes.damaged(
        fmt::format("entry {} has two sizes, {} and {}", entry.name, entry.stored, entry.size));
  }
  at += central_size + name + extra + comment;
  return entry;
}

/// The data of an entry, between its local header and the central directory.
std::span<const std::byte> locate(const Bytes& bytes, const Directory& directory,
                                  const Entry& entry) {
  const auto outside = [&] {
    bytes.damaged(fmt::format("entry {} lies outside the data", entry.name));
  };
  if (entry.offset > directory.offset || directory.offset - entry.offset < local_size) outside();
  if (bytes.number<std::uint32_t>(entry.offset) != local_signature) {
    bytes.damaged(fmt::format("entry {} is not where the directory says", entry.name));
  }
  const std::size_t name = bytes.number<std::uint16_t>(entry.offset + 26);
  const std::size_t extra = bytes.number<std::uint16_t>(entry.offset + 28);
  const std::uint64_t begin = entry.offset + local_size + name + extra;
  if (begin > directory.offset || entry.stored > directory.offset - begin) outside();
  if (bytes.text(entry.offset + local_size, name) != entry.name) {
    bytes.damaged(fmt::format("entry {} has another name in its header", entry.name));
  }
  return bytes.range(begin, entry.stored);
}

}  // namespace

ZipEntries read_zip(const MappedFile& file) {
  const Bytes bytes(file);
  const Directory directory = find_directory(bytes);
  ZipEntries entries;
  std::map<std::uint64_t, std::pair<std::uint64_t, std::string_view>> ends;  // by the beginning
  std::size_t at = directory.offset;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    const Entry entry = read_entry(bytes, directory, at);
    const auto data = locate(bytes, directory, entry);
    if (!entries.emplace(entry.name, ZipEntry{data, entry.compressed}).second) {
      bytes.damaged(fmt::format("entry {} is there twice", entry.name));
    }
    const auto end = static_cast<std::uint64_t>(data.data() - file.bytes().data()) + data.size();
    if (!ends.emplace(entry.offset, std::pair(end, entry.name)).second) {
      bytes.damaged(fmt::format("entry {} lies over another", entry.name));
    }
  }
  std::uint64_t before = 0;
  for (const auto& [begin, rest] : ends) {
    if (begin < before) bytes.damaged(fmt::format("entry {} lies over another", rest.second));
    before = rest.first;
  }
  return entries;
}

}  // namespace moebius

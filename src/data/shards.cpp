#include "data/shards.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/staged.h"

namespace moebius {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are written as they lie");

constexpr std::string_view kMagic = "MOEBTOK2", kMagicWithoutDigest = "MOEBTOK1";
constexpr std::size_t kDigestDigits = 32;

struct Header {
  char magic[8];
  std::uint32_t vocab_size;
  std::uint32_t token_bytes;
  std::uint64_t count;
  char source_digest[kDigestDigits];
};
static_assert(sizeof(Header) == 56);

std::uint32_t token_bytes_for(std::uint32_t vocab_size) {
  return vocab_size <= 65536 ? 2 : 4;
}

bool is_digest(std::string_view text) {
  return text.size() == kDigestDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

void write_token_shard(const fs::path& file, std::span<const std::int32_t> ids,
                       std::int32_t vocab_size, const std::string& source_digest) {
  if (!is_digest(source_digest)) {
    fail("{}: \"{}\" is not a digest of 32 hexadecimal digits", file.string(), source_digest);
  }
  if (ids.empty()) fail("{}: no tokens to write", file.string());
  if (vocab_size <= 0) {
    fail("{}: the vocabulary size is {}, must be positive", file.string(), vocab_size);
  }
  const auto bytes = token_bytes_for(static_cast<std::uint32_t>(vocab_size));
  Header header{{}, static_cast<std::uint32_t>(vocab_size), bytes, ids.size(), {}};
  std::memcpy(header.magic, kMagic.data(), kMagic.size());
  std::memcpy(header.source_digest, source_digest.data(), kDigestDigits);
  std::string content(sizeof header + ids.size() * bytes, '\0');
  std::memcpy(content.data(), &header, sizeof header);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      fail("{}: token {} is {}, outside the vocabulary of {}", file.string(), i, ids[i],
           vocab_size);
    }
    // Little-endian: the low two bytes come first.
    std::memcpy(content.data() + sizeof header + i * bytes, &ids[i], bytes);
  }
  write_file_atomically(file, content);
}

TokenShard TokenShard::open(const fs::path& file) {
  TokenShard shard;
  shard.file_ = MappedFile::open(file);
  const auto bytes = shard.file_->bytes();
  const std::string name = file.string();
  Header header;
  if (bytes.size() < sizeof header) {
    fail("{}: {} bytes, a token shard has at least {}", name, bytes.size(), sizeof header);
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::string_view magic(header.magic, sizeof header.magic);
  if (magic == kMagicWithoutDigest) {
    throw Error(fmt::format("{}: a token shard of an earlier version, without a digest", name),
                "give the text that it was made from");
  }
  if (magic != kMagic) {
    fail("{}: not a token shard (it does not start with {})", name, kMagic);
  }
  if (header.vocab_size == 0 || header.vocab_size > std::numeric_limits<std::int32_t>::max()) {
    fail("{}: impossible vocabulary size {}", name, header.vocab_size);
  }
  const std::uint32_t expected_bytes = token_bytes_for(header.vocab_size);
  if (header.token_bytes != expected_bytes) {
    fail("{}: {} bytes per token, a vocabulary of {} takes {}", name, header.token_bytes,
         header.vocab_size, expected_bytes);
  }
  if (header.count == 0) fail("{}: the shard is empty", name);
  const std::size_t body = bytes.size() - sizeof header;
  if (body % expected_bytes != 0 || header.count != body / expected_bytes) {
    fail("{}: {} tokens of {} bytes announced, {} bytes follow the header", name, header.count,
         expected_bytes, body);
  }
  shard.source_digest_.assign(header.source_digest, kDigestDigits);
  if (!is_digest(shard.source_digest_)) fail("{}: the header holds no digest", name);
  shard.vocab_size_ = static_cast<std::int32_t>(header.vocab_size);
  shard.token_bytes_ = expected_bytes;
  shard.size_ = header.count;
  return shard;
}

std::int32_t TokenShard::operator[](std::size_t at) const {
  std::int32_t id = 0;
  std::memcpy(&id, file_->bytes().data() + sizeof(Header) + at * token_bytes_, token_bytes_);
  return id;
}

void TokenShard::copy(std::size_t begin, std::span<std::int32_t> out) const {
  if (begin > size_ || out.size() > size_ - begin) {
    fail("{}: tokens {} to {} wanted, it has {}", path().string(), begin, begin + out.size(),
         size_);
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = (*this)[begin + i];
    if (out[i] < 0 || out[i] >= vocab_size_) {
      fail("{}: token {} is {}, outside the vocabulary of {}", path().string(), begin + i, out[i],
           vocab_size_);
    }
  }
}

}  // namespace moebius

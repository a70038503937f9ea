#include "hub/verify.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "base/error.h"
#include "hub/settings.h"

namespace moebius::hub {
namespace {

class Hash {
 public:
  explicit Hash(const EVP_MD* kind) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), kind, nullptr) != 1) {
      fail("OpenSSL cannot compute {}", EVP_MD_get0_name(kind));
    }
  }
  void add(std::span<const std::byte> bytes) {
    EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free};
};

}  // namespace

void check_digest(const fs::path& file, std::string_view etag, const Context& ctx) {
  const bool sha256 = etag.size() == 64, git = etag.size() == 40;
  if ((!sha256 && !git) || !is_hex(etag)) return;
  const auto mapped = MappedFile::open(file);
  const auto bytes = mapped->bytes();
  Hash hash(sha256 ? EVP_sha256() : EVP_sha1());
  if (git) {
    const std::string head = fmt::format("blob {}", bytes.size()) + '\0';
    hash.add(std::as_bytes(std::span(head)));
  }
  constexpr std::size_t piece = 4 << 20;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    ctx.check_interrupt();
    hash.add(bytes.subspan(at, std::min(piece, bytes.size() - at)));
  }
  if (const std::string found = hash.hex(); found != etag) {
    throw Error(fmt::format("{}: has the digest {}, the hub says {}", file.string(), found, etag),
                "the transfer was damaged; try again");
  }
}

}  // namespace moebius::hub

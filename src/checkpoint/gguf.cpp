#include "checkpoint/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/utf8.h"

namespace moebius {
namespace {

constexpr std::string_view magic = "GGUF";
constexpr std::uint32_t written_version = 3;
constexpr std::size_t written_alignment = 32;
// These bound the memory of a hostile header to half a GB; a vocabulary has 0.3 million entries.
constexpr std::uint64_t max_elements = 8 << 20, max_keys = 1 << 16, max_tensors = 1 << 18;
constexpr std::uint64_t max_name = 1 << 10, max_string = 64 << 20;

/// Types of metadata, with the numbers of the format.
enum class Kind : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

std::size_t padded(std::size_t size, std::size_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {
    header_.where = where;
  }

  GgufHeader run() {
    if (bytes_.size() < magic.size() || text(magic.size()) != magic) {
      fail("{}: not a GGUF file", where_);
    }
    const auto version = number<std::uint32_t>();
    if (version != 0 && (version & 0xFFFF) == 0) {
      fail("{}: a big-endian GGUF file; only little-endian ones are read", where_);
    }
    if (version != 2 && version != written_version) {
      throw Error(
          fmt::format("{}: GGUF version {} is not supported, only 2 and 3", where_, version),
          "convert the model anew");
    }
    const auto tensors = count(max_tensors, "tensors");
    const auto keys = count(max_keys, "metadata keys");
    for (std::uint64_t k = 0; k < keys; ++k) read_pair();
    for (std::uint64_t t = 0; t < tensors; ++t) read_tensor();
    place_data();
    return std::move(header_);
  }

 private:
  [[noreturn]] void damaged(std::string_view what) const {
    throw Error(fmt::format("{}: the GGUF header {} (byte {})", where_, what, at_),
                "the file is truncated or damaged; fetch it again");
  }

  std::string_view text(std::uint64_t size) {
    if (size > bytes_.size() - at_) damaged("ends too early");
    const auto* begin = reinterpret_cast<const char*>(bytes_.data() + at_);
    at_ += size;
    return {begin, static_cast<std::size_t>(size)};
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, text(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view string(std::uint64_t limit) {
    const auto size = number<std::uint64_t>();
    if (size > limit) damaged(fmt::format("has a text of {} bytes", size));
    return text(size);
  }
  std::uint64_t count(std::uint64_t limit, std::string_view what) {
    const auto value = number<std::uint64_t>();
    if (value > limit) damaged(fmt::format("announces {} {}", value, what));
    return value;
  }
  std::string name() {
    const std::string_view found = string(max_name);
    if (found.empty() || find_invalid_utf8(found) != npos) damaged("has a name that is no text");
    return std::string(found);
  }

  template <class T>
  std::int64_t integer() {
    const T value = number<T>();
    if (std::cmp_greater(value, INT64_MAX)) damaged("has a number beyond 63 bits");
    return static_cast<std::int64_t>(value);
  }
  bool boolean() {
    const auto value = number<std::uint8_t>();
    if (value > 1) damaged("has a truth value that is neither 0 nor 1");
    return value == 1;
  }

  GgufValue scalar(Kind kind) {
    switch (kind) {
      case Kind::u8:
        return integer<std::uint8_t>();
      case Kind::i8:
        return integer<std::int8_t>();
      case Kind::u16:
        return integer<std::uint16_t>();
      case Kind::i16:
        return integer<std::int16_t>();
      case Kind::u32:
        return integer<std::uint32_t>();
      case Kind::i32:
        return integer<std::int32_t>();
      case Kind::u64:
        return integer<std::uint64_t>();
      case Kind::i64:
        return integer<std::int64_t>();
      case Kind::f32:
        return shortest_decimal(number<float>());
      case Kind::f64:
        return number<double>();
      case Kind::boolean:
        return boolean();
      case Kind::string:
        return std::string(string(max_string));
      case Kind::array:
        return array();
    }
    damaged(fmt::format("has a value of type {}", static_cast<std::uint32_t>(kind)));
  }

  /// The shortest decimal that rounds to this float: 1e-5, not 9.99999974e-06.
  static double shortest_decimal(float value) {
    return std::isfinite(value) ? std::stod(fmt::format("{}", value)) : double{value};
  }

  template <class T>
  std::vector<T> elements(Kind kind, std::uint64_t size) {
    std::vector<T> out;
    for (std::uint64_t i = 0; i < size; ++i) {
      GgufValue value = scalar(kind);
      if constexpr (std::is_same_v<T, std::int64_t>) {
        if (const bool* truth = std::get_if<bool>(&value)) value = std::int64_t{*truth};
      }
      out.push_back(std::move(std::get<T>(value)));
    }
    return out;
  }

  GgufValue array() {
    const auto kind = static_cast<Kind>(number<std::uint32_t>());
    const auto size = number<std::uint64_t>();
    if (size > max_elements - elements_) damaged(fmt::format("has a list of {} values", size));
    elements_ += size;
    if (kind == Kind::array) damaged("has a list of lists");
    if (kind == Kind::string) return elements<std::string>(kind, size);
    if (kind == Kind::f32 || kind == Kind::f64) return elements<double>(kind, size);
    return elements<std::int64_t>(kind, size);
  }

  void read_pair() {
    const std::string key = name();
    const auto kind = static_cast<Kind>(number<std::uint32_t>());
    GgufValue value = scalar(kind);
    if (!header_.metadata.emplace(key, std::move(value)).second) {
      fail("{}: the key {} is there twice", where_, key);
    }
  }

  void read_tensor() {
    GgufTensor tensor;
    tensor.name = name();
    const std::string where = fmt::format("{}: tensor {}", where_, tensor.name);
    if (!names_.insert(tensor.name).second) fail("{}: is there twice", where);
    const auto dimensions = number<std::uint32_t>();
    if (dimensions < 1 || dimensions > 4) fail("{}: has {} dimensions", where, dimensions);
    std::uint64_t total = 1;
    for (std::uint32_t d = 0; d < dimensions; ++d) {
      const auto size = number<std::uint64_t>();
      if (size < 1 || size > (std::uint64_t{1} << 40) / total) {
        fail("{}: its shape is empty or too large", where);
      }
      total *= size;
      tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
    }
    tensor.type = type(number<std::uint32_t>(), where);
    const std::int64_t columns = tensor.shape.back();
    const std::size_t block = gguf_block_elements(tensor.type);
    if (static_cast<std::size_t>(columns) % block != 0) {
      fail("{}: {} with rows of {}, which {} does not divide", where, name_of(tensor.type), columns,
           block);
    }
    tensor.bytes = gguf_row_bytes(tensor.type, columns) *
                   static_cast<std::size_t>(total / static_cast<std::uint64_t>(columns));
    const auto offset = number<std::uint64_t>();
    if (offset > bytes_.size()) fail("{}: its data lies outside the file", where);
    tensor.offset = static_cast<std::size_t>(offset);
    header_.tensors.push_back(std::move(tensor));
  }

  static GgufType type(std::uint32_t number, const std::string& where) {
    if (const auto known = gguf_type_numbered(number)) return *known;
    std::vector<std::string_view> names;
    for (const GgufType each : gguf_types()) names.push_back(name_of(each));
    throw Error(fmt::format("{}: its type {} is not supported", where, gguf_type_name(number)),
                fmt::format("fetch the model in one of {}, or make such a file with llama.cpp's "
                            "llama-quantize --allow-requantize",
                            fmt::join(names, ", ")));
  }

  /// Makes offsets count from the begin of the file; the header's count from that of the data.
  void place_data() {
    const std::int64_t alignment =
        header_.integer_or("general.alignment", written_alignment, 1, 1 << 20);
    if ((alignment & (alignment - 1)) != 0) {
      header_.fail_key("general.alignment", "is no power of two");
    }
    const std::size_t begin = padded(at_, static_cast<std::size_t>(alignment));
    std::vector<GgufTensor*> by_place;
    for (GgufTensor& tensor : header_.tensors) {
      const std::string where = fmt::format("{}: tensor {}", where_, tensor.name);
      if (tensor.offset % static_cast<std::size_t>(alignment) != 0) {
        fail("{}: its data is not aligned to {}", where, alignment);
      }
      if (begin > bytes_.size() || tensor.offset > bytes_.size() - begin ||
          tensor.bytes > bytes_.size() - begin - tensor.offset) {
        throw Error(fmt::format("{}: {} bytes of data at {} lie outside the file, which has {}",
                                where, tensor.bytes, tensor.offset,
                                bytes_.size() - std::min(begin, bytes_.size())),
                    "the file is truncated or damaged; fetch it again");
      }
      tensor.offset += begin;
      by_place.push_back(&tensor);
    }
    std::sort(by_place.begin(), by_place.end(),
              [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
    for (std::size_t t = 1; t < by_place.size(); ++t) {
      if (by_place[t - 1]->offset + by_place[t - 1]->bytes > by_place[t]->offset) {
        fail("{}: tensors {} and {} overlap", where_, by_place[t - 1]->name, by_place[t]->name);
      }
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::uint64_t elements_ = 0;
  std::set<std::string> names_;
  GgufHeader header_;
};

class HeaderWriter {
 public:
  template <class T>
  void number(T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void kind(Kind value) { number(static_cast<std::uint32_t>(value)); }
  void string(std::string_view text) {
    number<std::uint64_t>(text.size());
    out.append(text);
  }
  void list(Kind of, std::size_t size) {
    kind(Kind::array);
    kind(of);
    number<std::uint64_t>(size);
  }

  void operator()(bool value) {
    kind(Kind::boolean);
    number<std::uint8_t>(value);
  }
  void operator()(std::int64_t value) {
    kind(Kind::u32);
    number(static_cast<std::uint32_t>(value));
  }
  void operator()(double value) {
    kind(Kind::f32);
    number(static_cast<float>(value));
  }
  void operator()(const std::string& value) {
    kind(Kind::string);
    string(value);
  }
  void operator()(const std::vector<std::int64_t>& values) {
    list(Kind::i32, values.size());
    for (const std::int64_t value : values) number(static_cast<std::int32_t>(value));
  }
  void operator()(const std::vector<double>& values) {
    list(Kind::f32, values.size());
    for (const double value : values) number(static_cast<float>(value));
  }
  void operator()(const std::vector<std::string>& values) {
    list(Kind::string, values.size());
    for (const std::string& value : values) string(value);
  }

  std::string out;
};

/// The value of `key` as a T; null if the key is absent.
template <class T>
const T* find_value(const GgufHeader& header, std::string_view key, std::string_view what) {
  const auto at = header.metadata.find(key);
  if (at == header.metadata.end()) return nullptr;
  const T* value = std::get_if<T>(&at->second);
  if (value == nullptr) header.fail_key(key, fmt::format("is not {}", what));
  return value;
}

template <class T>
const T& require_value(const T* value, const GgufHeader& header, std::string_view key) {
  if (value == nullptr) header.fail_key(key, "is missing");
  return *value;
}

/// Numbers may be stored as integers.
std::optional<double> find_number(const GgufHeader& header, std::string_view key) {
  const auto at = header.metadata.find(key);
  if (at == header.metadata.end()) return std::nullopt;
  if (const auto* whole = std::get_if<std::int64_t>(&at->second)) {
    return static_cast<double>(*whole);
  }
  const double value = *find_value<double>(header, key, "a number");
  if (!std::isfinite(value)) header.fail_key(key, "is not finite");
  return value;
}

}  // namespace

void GgufHeader::fail_key(std::string_view key, std::string_view what) const {
  fail("{}: the key {} {}", where, key, what);
}

std::int64_t GgufHeader::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const auto value =
      require_value(find_value<std::int64_t>(*this, key, "a whole number"), *this, key);
  if (value < min || value > max) {
    fail_key(key, fmt::format("is {}, not between {} and {}", value, min, max));
  }
  return value;
}

std::int64_t GgufHeader::integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                    std::int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double GgufHeader::number(std::string_view key) const {
  const auto value = find_number(*this, key);
  if (!value) fail_key(key, "is missing");
  return *value;
}

double GgufHeader::number_or(std::string_view key, double fallback) const {
  return find_number(*this, key).value_or(fallback);
}

bool GgufHeader::boolean_or(std::string_view key, bool fallback) const {
  const bool* value = find_value<bool>(*this, key, "true or false");
  return value == nullptr ? fallback : *value;
}

std::string GgufHeader::string(std::string_view key) const {
  const auto& value = require_value(find_value<std::string>(*this, key, "a text"), *this, key);
  if (find_invalid_utf8(value) != npos) fail_key(key, "is not UTF-8");
  return value;
}

std::string GgufHeader::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

std::vector<std::string> GgufHeader::strings(std::string_view key) const {
  const auto* value = find_value<std::vector<std::string>>(*this, key, "a list of texts");
  return value == nullptr ? std::vector<std::string>() : *value;
}

std::vector<std::int64_t> GgufHeader::integers(std::string_view key) const {
  const auto* value = find_value<std::vector<std::int64_t>>(*this, key, "a list of whole numbers");
  return value == nullptr ? std::vector<std::int64_t>() : *value;
}

std::vector<double> GgufHeader::numbers(std::string_view key) const {
  const auto* value = find_value<std::vector<double>>(*this, key, "a list of numbers");
  return value == nullptr ? std::vector<double>() : *value;
}

const GgufTensor* GgufHeader::find(std::string_view tensor) const {
  const auto at = std::find_if(tensors.begin(), tensors.end(),
                               [&](const GgufTensor& each) { return each.name == tensor; });
  return at == tensors.end() ? nullptr : &*at;
}

GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& where) {
  return HeaderReader(bytes, where).run();
}

std::string gguf_header(const GgufMetadata& metadata, std::vector<GgufTensor>& tensors) {
  HeaderWriter to;
  to.out = magic;
  to.number(written_version);
  to.number<std::uint64_t>(tensors.size());
  to.number<std::uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) {
    to.string(key);
    std::visit(to, value);
  }
  std::size_t offset = 0;
  for (GgufTensor& tensor : tensors) {
    const std::int64_t columns = tensor.shape.back();
    tensor.bytes = gguf_row_bytes(tensor.type, columns) *
                   static_cast<std::size_t>(element_count(tensor.shape) / columns);
    tensor.offset = offset;
    to.string(tensor.name);
    to.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      to.number(static_cast<std::uint64_t>(*size));
    }
    to.number(static_cast<std::uint32_t>(tensor.type));
    to.number<std::uint64_t>(offset);
    offset += padded(tensor.bytes, written_alignment);
  }
  to.out.resize(padded(to.out.size(), written_alignment), '\0');
  for (GgufTensor& tensor : tensors) tensor.offset += to.out.size();
  return std::move(to.out);
}

std::size_t gguf_file_bytes(const std::string& header, const std::vector<GgufTensor>& tensors) {
  if (tensors.empty()) return header.size();
  return padded(tensors.back().offset + tensors.back().bytes, written_alignment);
}

}  // namespace moebius

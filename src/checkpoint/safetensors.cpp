#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

namespace moebius {
namespace {

constexpr std::uint64_t max_header = 100'000'000;  // the format's own limit

/// Sorted by name: a header may list tens of thousands of tensors, and `Json` searches linearly.
using Header = nlohmann::json;

Header parse_header(std::string_view text, const std::string& where) {
  std::set<std::string> names;
  const auto check_key = [&](int depth, Header::parse_event_t event, Header& parsed) {
    // Copying values that are nested deeper than an entry could exhaust the stack.
    if (depth > 8) fail("{}: the safetensors header is nested too deeply", where);
    if (depth != 1 || event != Header::parse_event_t::key) return true;
    const auto name = parsed.get<std::string>();
    check_tensor_name(name, where);
    if (!names.insert(name).second) fail("{}: tensor {} is listed twice", where, name);
    return true;
  };
  try {
    return Header::parse(text, check_key);
  } catch (const Header::exception&) {
    fail("{}: the safetensors header is not JSON", where);
  }
}

Shape read_shape(const Json& json, const std::string& where) {
  if (!json.is_array() || json.size() > 8) fail("{}: \"shape\" is not a short list", where);
  Shape shape;
  for (const Json& size : json) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() > (std::uint64_t{1} << 48)) {
      fail("{}: \"shape\" holds something that is not a size", where);
    }
    shape.push_back(size.get<std::int64_t>());
  }
  return shape;
}

/// Bytes that `shape` needs; throws on overflow.
std::size_t bytes_of(const Shape& shape, DType dtype, const std::string& where) {
  unsigned __int128 bytes = size_of(dtype);
  for (const std::int64_t size : shape) {
    bytes *= static_cast<unsigned __int128>(size);
    if (bytes > (std::uint64_t{1} << 60))
      fail("{}: shape {} is too large", where, to_string(shape));
  }
  return static_cast<std::size_t>(bytes);
}

/// 8-bit floats and unsigned integers are how quantised weights are stored.
[[noreturn]] void fail_dtype(const std::string& dtype, const std::string& where) {
  const std::string_view method = dtype.starts_with("F8_")  ? " (quantised weights: FP8)"
                                  : dtype.starts_with("F4") ? " (quantised weights: FP4)"
                                  : dtype.starts_with("U")  ? " (quantised weights, as of MLX)"
                                                            : "";
  throw Error(fmt::format("{}: dtype {} is not supported{}", where, dtype, method),
              method.empty() ? ""
                             : "take the model that it was made from, or write it with "
                               "dequantize() of transformers");
}

TensorEntry read_entry(const std::string& name, const Json& json, const std::string& file,
                       std::span<const std::byte> data) {
  const std::string where = fmt::format("{}: tensor {}", file, name);
  const JsonView view(json, where);
  TensorEntry entry;
  entry.name = name;
  const std::string dtype = view.string("dtype");
  const auto known = dtype_from_safetensors(dtype);
  if (!known) fail_dtype(dtype, where);
  entry.dtype = *known;
  if (!json.contains("shape")) fail("{}: \"shape\" is missing", where);
  entry.shape = read_shape(json["shape"], where);
  const auto offsets = view.integers("data_offsets");
  if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0]) {
    fail("{}: \"data_offsets\" are not [begin, end]", where);
  }
  const auto begin = static_cast<std::size_t>(offsets[0]);
  const auto end = static_cast<std::size_t>(offsets[1]);
  if (end > data.size()) {
    throw Error(fmt::format("{}: data [{}, {}) lies outside the file, which has {} bytes of data",
                            where, begin, end, data.size()),
                "the file is truncated or damaged; fetch it again");
  }
  entry.bytes = end - begin;
  if (const std::size_t need = bytes_of(entry.shape, entry.dtype, where); need != entry.bytes) {
    fail("{}: {} {} needs {} bytes, the header gives it {}", where, dtype, to_string(entry.shape),
         need, entry.bytes);
  }
  entry.data = data.data() + begin;
  return entry;
}

}  // namespace

void check_tensor_name(std::string_view name, std::string_view where) {
  constexpr std::size_t longest = 1000;
  if (name.size() <= longest) return;
  fail("{}: a tensor's name has {} bytes, more than {}: {}...", where, name.size(), longest,
       replace_invalid_utf8(name.substr(0, 100)));
}

std::vector<TensorEntry> read_safetensors(const fs::path& path) {
  return read_safetensors(MappedFile::open(path));
}

std::vector<TensorEntry> read_safetensors(const std::shared_ptr<const MappedFile>& file) {
  const auto bytes = file->bytes();
  const std::string where = file->path().string();
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    fail("{}: {} bytes are too few for a safetensors file", where, bytes.size());
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > max_header || length > bytes.size() - sizeof length) {
    throw Error(fmt::format("{}: the header claims {} bytes, the file has {}", where, length,
                            bytes.size() - sizeof length),
                "the file is truncated or not in safetensors format");
  }
  const auto* text = reinterpret_cast<const char*>(bytes.data() + sizeof length);
  const Header header = parse_header({text, static_cast<std::size_t>(length)}, where);
  if (!header.is_object()) fail("{}: the safetensors header is not a JSON object", where);

  const auto data = bytes.subspan(sizeof length + length);
  std::vector<TensorEntry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") continue;
    entries.push_back(read_entry(name, Json(json), where, data));
    entries.back().file = file;
  }
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.data, a.bytes) < std::pair(b.data, b.bytes);
  });
  const TensorEntry* before = nullptr;  // the last one that holds bytes
  for (const TensorEntry& entry : entries) {
    if (entry.bytes == 0) continue;
    if (before != nullptr && before->data + before->bytes > entry.data) {
      fail("{}: tensors {} and {} overlap", where, before->name, entry.name);
    }
    before = &entry;
  }
  return entries;
}

void check_finite(const TensorEntry& entry, std::size_t begin, std::size_t count) {
  const std::size_t bad =
      find_non_finite(entry.data + begin * size_of(entry.dtype), entry.dtype, count);
  if (bad == count) return;
  throw Error(fmt::format("{}: tensor {} holds a non-finite weight at element {}",
                          entry.file->path().string(), entry.name, begin + bad),
              "the checkpoint is damaged or diverged in training");
}

std::string safetensors_header(const std::vector<TensorPlan>& tensors) {
  // Formatted by hand to keep the order of the data; the library quotes the names.
  std::string text = R"({"__metadata__":{"format":"pt"})";
  for (const TensorPlan& tensor : tensors) {
    text += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        Json(tensor.name).dump(), safetensors_name(tensor.dtype),
                        fmt::join(tensor.shape, ","), tensor.offset, tensor.offset + tensor.bytes);
  }
  text += "}";
  text.append((64 - (sizeof(std::uint64_t) + text.size()) % 64) % 64, ' ');
  const std::uint64_t length = text.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + text;
}

}  // namespace moebius

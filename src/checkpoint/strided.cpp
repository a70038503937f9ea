#include "checkpoint/strided.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace moebius {
namespace {

std::int64_t count_of(const StridedTensor& tensor) {
  return tensor.shape.empty() ? 1 : element_count(tensor.shape);
}

bool is_contiguous(const StridedTensor& tensor) {
  std::int64_t expected = 1;
  for (std::size_t d = tensor.shape.size(); d > 0; --d) {
    if (tensor.shape[d - 1] != 1 && tensor.strides[d - 1] != expected) return false;
    expected *= tensor.shape[d - 1];
  }
  return true;
}

/// Copies dimension `d` and the inner ones, beginning at `from`; advances `to` past the copy. `T`
/// is any type of the size of an element.
template <class T>
void gather(const StridedTensor& tensor, std::size_t d, const std::byte* from, std::byte*& to) {
  const std::int64_t step = tensor.strides[d] * static_cast<std::int64_t>(sizeof(T));
  const bool innermost = d + 1 == tensor.shape.size();
  for (std::int64_t i = 0; i < tensor.shape[d]; ++i) {
    if (!innermost) {
      gather<T>(tensor, d + 1, from + i * step, to);
      continue;
    }
    std::memcpy(to, from + i * step, sizeof(T));
    to += sizeof(T);
  }
}

/// The elements in row-major order.
std::vector<std::byte> gather(const StridedTensor& tensor, const std::byte* from,
                              std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  std::byte* to = out.data();
  switch (size_of(tensor.dtype)) {
    case 1:
      gather<std::uint8_t>(tensor, 0, from, to);
      break;
    case 2:
      gather<std::uint16_t>(tensor, 0, from, to);
      break;
    case 4:
      gather<std::uint32_t>(tensor, 0, from, to);
      break;
    default:
      gather<std::uint64_t>(tensor, 0, from, to);
  }
  return out;
}

const std::byte* first_element(const StridedTensor& tensor) {
  return tensor.storage.data() + static_cast<std::size_t>(tensor.offset) * size_of(tensor.dtype);
}

bool same_elements(const StridedTensor& a, const StridedTensor& b) {
  return first_element(a) == first_element(b) && a.dtype == b.dtype && a.shape == b.shape &&
         a.strides == b.strides;
}

}  // namespace

void check_strided(const StridedTensor& tensor, const std::string& where) {
  if (tensor.strides.size() != tensor.shape.size()) fail("{}: strides do not fit its shape", where);
  if (tensor.offset < 0) fail("{}: begins at {}", where, tensor.offset);
  const auto elements = static_cast<std::int64_t>(tensor.storage.size() / size_of(tensor.dtype));
  __int128 count = 1;
  for (std::size_t d = 0; d < tensor.shape.size() && count <= elements; ++d) {
    if (tensor.shape[d] < 0 || tensor.strides[d] < 0) {
      fail("{}: shape {} with strides {} is not possible", where, to_string(tensor.shape),
           to_string(tensor.strides));
    }
    count *= tensor.shape[d];
  }
  __int128 end = tensor.offset;  // one past the last element
  if (count > 0 && count <= elements) {
    end += 1;
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
      end += static_cast<__int128>(tensor.shape[d] - 1) * tensor.strides[d];
    }
  }
  if (count > elements || end > elements) {
    throw Error(
        fmt::format("{}: {} from element {} on does not fit into its storage of {} elements", where,
                    to_string(tensor.shape), tensor.offset, elements),
        "the file is damaged, or the tensor is expanded; save a contiguous() one");
  }
}

std::vector<TensorEntry> to_entries(std::vector<StridedTensor> tensors,
                                    const std::shared_ptr<const MappedFile>& file) {
  std::sort(tensors.begin(), tensors.end(), [](const StridedTensor& a, const StridedTensor& b) {
    return std::pair(first_element(a), count_of(a)) < std::pair(first_element(b), count_of(b));
  });
  std::vector<TensorEntry> entries;
  std::size_t copied = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const StridedTensor& tensor = tensors[t];
    TensorEntry entry;
    entry.name = tensor.name;
    entry.dtype = tensor.dtype;
    entry.shape = tensor.shape;
    entry.file = file;
    entry.data = first_element(tensor);
    entry.bytes = static_cast<std::size_t>(count_of(tensor)) * size_of(tensor.dtype);
    if (entry.bytes > 0 && t > 0 && same_elements(tensor, tensors[t - 1])) {
      entry.owned = entries.back().owned;
      entry.data = entries.back().data;
    } else if (entry.bytes > 0 && !is_contiguous(tensor)) {
      copied += entry.bytes;
      if (copied > file->bytes().size()) {
        throw Error(fmt::format("{}: its transposed tensors are larger than the file",
                                file->path().string()),
                    "save contiguous() tensors");
      }
      entry.owned =
          std::make_shared<std::vector<std::byte>>(gather(tensor, entry.data, entry.bytes));
      entry.data = entry.owned->data();
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace moebius

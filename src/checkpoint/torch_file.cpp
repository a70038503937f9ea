#include "checkpoint/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <tuple>

#include "base/error.h"
#include "base/utf8.h"
#include "checkpoint/pickle.h"
#include "checkpoint/strided.h"
#include "checkpoint/zip.h"

namespace moebius {
namespace {

using Kind = PickleNode::Kind;
using Ref = PickleNode::Ref;

/// The functions and types that a pickle may name.
constexpr std::string_view ordered_dict = "collections.OrderedDict", size = "torch.Size";
constexpr std::string_view rebuild = "torch._utils._rebuild_tensor";
constexpr std::string_view rebuild_v2 = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view rebuild_v3 = "torch._utils._rebuild_tensor_v3";
constexpr std::string_view parameter = "torch._utils._rebuild_parameter";
constexpr std::string_view parameter_state = "torch._utils._rebuild_parameter_with_state";
constexpr std::string_view untyped_storage = "torch.storage.UntypedStorage";

struct StorageType {
  std::string_view name, dtype_name;
  DType dtype;
};
constexpr std::array<StorageType, 10> storage_types{{
    {"torch.DoubleStorage", "torch.float64", DType::f64},
    {"torch.FloatStorage", "torch.float32", DType::f32},
    {"torch.HalfStorage", "torch.float16", DType::f16},
    {"torch.BFloat16Storage", "torch.bfloat16", DType::bf16},
    {"torch.LongStorage", "torch.int64", DType::i64},
    {"torch.IntStorage", "torch.int32", DType::i32},
    {"torch.ShortStorage", "torch.int16", DType::i16},
    {"torch.CharStorage", "torch.int8", DType::i8},
    {"torch.ByteStorage", "torch.uint8", DType::u8},
    {"torch.BoolStorage", "torch.bool", DType::boolean},
}};

std::vector<std::string_view> allowed_globals() {
  std::vector<std::string_view> names{ordered_dict, size,      rebuild,         rebuild_v2,
                                      rebuild_v3,   parameter, parameter_state, untyped_storage};
  for (const StorageType& type : storage_types) {
    names.push_back(type.name);
    names.push_back(type.dtype_name);
  }
  return names;
}

/// The archive: the folder that holds its entries, and the checks of its format.
class Archive {
 public:
  explicit Archive(const MappedFile& file) : where_(file.path().string()) {
    check_kind(file.bytes());
    entries_ = read_zip(file);
    find_root();
    if (has("constants.pkl")) {
      throw Error(
          fmt::format("{}: is a TorchScript archive, a program; only weights are read", where_),
          "save its state_dict() with torch.save or as safetensors");
    }
    if (has("byteorder")) check_byte_order();
  }

  std::span<const std::byte> entry(std::string_view name) const {
    const auto found = entries_.find(root_ + std::string(name));
    if (found == entries_.end()) fail("{}: holds no {}", where_, name);
    if (found->second.compressed) {
      throw Error(fmt::format("{}: {} is compressed, which torch.save never does", where_, name),
                  "save it again with torch.save");
    }
    return found->second.bytes;
  }

 private:
  bool has(std::string_view name) const { return entries_.contains(root_ + std::string(name)); }

  /// torch.save before 1.6 wrote pickles one after another, the first one a magic number.
  void check_kind(std::span<const std::byte> bytes) const {
    const std::string_view head(reinterpret_cast<const char*>(bytes.data()),
                                std::min<std::size_t>(bytes.size(), 4));
    if (head.starts_with("PK\x03\x04")) return;
    if (head.starts_with("\x80\x02\x8a\x0a")) {
      throw Error(
          fmt::format("{}: is in the format of torch before 1.6, which is not read", where_),
          "convert it in Python: torch.save(torch.load(FILE, weights_only=True), FILE)");
    }
    throw Error(fmt::format("{}: is not a file of torch.save", where_),
                "the file is truncated or damaged; fetch it again");
  }
  void find_root() {
    constexpr std::string_view pickle = "data.pkl";
    for (const auto& [name, found] : entries_) {
      const auto slash = name.find('/');
      if (slash == std::string_view::npos || name.substr(slash + 1) != pickle) continue;
      if (!root_.empty()) fail("{}: holds {} twice", where_, pickle);
      root_ = name.substr(0, slash + 1);
    }
    if (root_.empty())
      fail("{}: is a zip archive without {}, so none of torch.save", where_, pickle);
  }
  void check_byte_order() const {
    const auto bytes = entry("byteorder");
    const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (order == "little") return;
    throw Error(fmt::format("{}: byte order is {}, little is read", where_, order.substr(0, 20)),
                "save it again on a machine of today, or as safetensors");
  }

  std::string where_, root_;
  ZipEntries entries_;
};

/// Builds tensors from the nodes of the pickle.
class StateDict {
 public:
  explicit StateDict(std::shared_ptr<const MappedFile> file)
      : file_(std::move(file)),
        where_(file_->path().string()),
        archive_(*file_),
        pickle_(read_pickle(archive_.entry("data.pkl"), allowed_globals(), where_)) {}

  std::vector<TensorEntry> read() {
    const PickleNode& dict = state_dict();
    std::vector<StridedTensor> tensors;
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickleNode& key = pickle_[dict.items[i]];
      if (key.kind != Kind::text) fail("{}: a key of the state dict is no text", where_);
      check_tensor_name(key.text, where_);
      check_utf8(key.text, where_);
      const PickleNode& value = pickle_[dict.items[i + 1]];
      if (is_scalar(value)) continue;
      tensors.push_back(read_tensor(value, std::string(key.text)));
    }
    return to_entries(std::move(tensors), file_);
  }

 private:
  static bool is_scalar(const PickleNode& node) {
    return node.kind == Kind::none || node.kind == Kind::boolean || node.kind == Kind::integer ||
           node.kind == Kind::text || node.kind == Kind::opaque;
  }
  /// The function of a call node; empty for other nodes.
  std::string_view callee(const PickleNode& node) const {
    return node.kind == Kind::call ? pickle_[node.callee].text : std::string_view();
  }
  const std::vector<Ref>& arguments(const PickleNode& call) const {
    return pickle_[call.argument].items;
  }
  bool is_dict(const PickleNode& node) const {
    return node.kind == Kind::dict || callee(node) == ordered_dict;
  }

  const PickleNode& state_dict() const {
    const PickleNode& root = pickle_[pickle_.root];
    if (!is_dict(root)) {
      throw Error(fmt::format("{}: holds something else than a state dict", where_),
                  "save model.state_dict()");
    }
    for (std::size_t i = 0; i + 1 < root.items.size(); i += 2) {
      const std::string_view key = pickle_[root.items[i]].text;
      const PickleNode& value = pickle_[root.items[i + 1]];
      if ((key == "state_dict" || key == "model") && is_dict(value)) return value;
    }
    return root;
  }

  StridedTensor read_tensor(const PickleNode& value, const std::string& name) const {
    const std::string where = fmt::format("{}: tensor {}", where_, name);
    const PickleNode* node = &value;
    if (callee(*node) == parameter || callee(*node) == parameter_state) {
      const auto& of = arguments(*node);
      if (of.empty()) fail("{}: is malformed", where);
      node = &pickle_[of[0]];
    }
    const std::string_view function = callee(*node);
    if (function != rebuild && function != rebuild_v2 && function != rebuild_v3) {
      throw Error(fmt::format("{}: is no tensor", where), "save model.state_dict() alone");
    }
    // storage, offset, sizes, strides; requires_grad, hooks; a dtype where the storage has none
    const auto& of = arguments(*node);
    if (of.size() < (function == rebuild_v3 ? 7u : 4u)) fail("{}: is malformed", where);
    StridedTensor tensor;
    tensor.name = name;
    const StorageType* type = function == rebuild_v3 ? find_dtype(pickle_[of[6]]) : nullptr;
    read_storage(pickle_[of[0]], type, where, tensor);
    tensor.offset = integer(of[1], where);
    tensor.shape = integers(of[2], where);
    tensor.strides = integers(of[3], where);
    check_strided(tensor, where);
    return tensor;
  }

  static const StorageType* find_dtype(const PickleNode& node) {
    for (const StorageType& type : storage_types) {
      if (node.kind == Kind::global && node.text == type.dtype_name) return &type;
    }
    return nullptr;
  }

  /// ('storage', type, key, device, elements)
  void read_storage(const PickleNode& node, const StorageType* type, const std::string& where,
                    StridedTensor& tensor) const {
    const auto malformed = [&] { fail("{}: its storage is malformed", where); };
    if (node.kind != Kind::persistent) malformed();
    const PickleNode& id = pickle_[node.argument];
    if (id.kind != Kind::tuple || id.items.size() != 5) malformed();
    const PickleNode &kind = pickle_[id.items[1]], &key = pickle_[id.items[2]];
    if (pickle_[id.items[0]].text != "storage" || kind.kind != Kind::global ||
        key.kind != Kind::text) {
      malformed();
    }
    std::size_t unit = 1;  // an untyped storage counts bytes
    if (kind.text != untyped_storage) {
      type = nullptr;
      for (const StorageType& each : storage_types) {
        if (each.name == kind.text) type = &each;
      }
      if (type != nullptr) unit = size_of(type->dtype);
    }
    if (type == nullptr) malformed();
    tensor.dtype = type->dtype;
    tensor.storage = archive_.entry(fmt::format("data/{}", key.text));
    const std::int64_t elements = integer(id.items[4], where);
    if (elements < 0 || tensor.storage.size() % unit != 0 ||
        static_cast<std::uint64_t>(elements) != tensor.storage.size() / unit) {
      throw Error(fmt::format("{}: its storage has {} bytes, the pickle says {} elements of {}",
                              where, tensor.storage.size(), elements, unit),
                  "the file is truncated or damaged; fetch it again");
    }
  }

  std::int64_t integer(Ref ref, const std::string& where) const {
    if (pickle_[ref].kind != Kind::integer) fail("{}: holds no number where one belongs", where);
    return pickle_[ref].integer;
  }
  /// A tuple of numbers, or torch.Size of one.
  std::vector<std::int64_t> integers(Ref ref, const std::string& where) const {
    const PickleNode* node = &pickle_[ref];
    if (callee(*node) == size && arguments(*node).size() == 1) {
      node = &pickle_[arguments(*node)[0]];
    }
    if ((node->kind != Kind::tuple && node->kind != Kind::list) || node->items.size() > 8) {
      fail("{}: its shape or strides are no short list", where);
    }
    std::vector<std::int64_t> values;
    for (const Ref item : node->items) values.push_back(integer(item, where));
    return values;
  }

  std::shared_ptr<const MappedFile> file_;
  std::string where_;
  Archive archive_;
  Pickle pickle_;
};

}  // namespace

std::vector<TensorEntry> read_torch_file(const fs::path& path) {
  return read_torch_file(MappedFile::open(path));
}

std::vector<TensorEntry> read_torch_file(std::shared_ptr<const MappedFile> file) {
  return StateDict(std::move(file)).read();
}

}  // namespace moebius

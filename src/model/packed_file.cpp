#include "model/packed_file.h"

#include <ATen/ATen.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/json.h"

namespace moebius {
namespace {

using kernels::PackedShape;
using kernels::PackedType;

std::string digest_of_bytes(std::span<const std::byte> bytes) {
  Digest digest;
  digest.add(bytes);
  return digest.hex();
}

/// What a weight is in the file.
struct StoredWeight {
  TensorPlan plan;
  at::Tensor plain;  ///< or packed:
  std::shared_ptr<const PackedWeight> packed;

  std::span<const std::byte> bytes() const {
    if (packed != nullptr) return packed->memory();
    return {static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()};
  }
};

std::vector<StoredWeight> list_weights(const Weights& weights) {
  std::vector<StoredWeight> list;
  std::size_t offset = 0;
  const auto add = [&](const std::string& slot, const Weight& w) {
    StoredWeight stored{{slot, DType::u8, {}, offset, 0}, {}, w.shared_packed()};
    if (stored.packed != nullptr) {
      stored.plan.shape = {stored.packed->bytes()};
    } else {
      stored.plain = w.plain().contiguous();
      stored.plan.dtype = from_torch(stored.plain.scalar_type());
      stored.plan.shape = stored.plain.sizes().vec();
    }
    stored.plan.bytes = stored.bytes().size();
    offset += stored.plan.bytes;
    list.push_back(std::move(stored));
  };
  // Packed ones first: their sizes are multiples of a cache line.
  for (const bool packed : {true, false}) {
    for_each_weight(
        [&](const std::string& slot, const Weight& w) {
          if (w.defined() && (w.packed() != nullptr) == packed) add(slot, w);
        },
        weights);
  }
  return list;
}

/// Reads what a manifest says of the packed weights.
class Reader {
 public:
  Reader(const fs::path& directory, bool verify, Executor& executor)
      : file_(directory / packed_weights_name),
        manifest_(read_packed_manifest(directory)),
        view_(manifest_, (directory / packed_manifest_name).string()),
        verify_(verify),
        executor_(executor) {
    for (TensorEntry& entry : read_safetensors(file_)) {
      const std::string name = entry.name;
      entries_.emplace(name, std::move(entry));
    }
  }

  PackedType type() const { return packed_type_from(view_.string("weights"), view_.where()); }

  /// `shape` as the configuration has it.
  Weight read(const std::string& slot, const Shape& shape) {
    const auto found = entries_.find(slot);
    if (found == entries_.end()) fail("{}: tensor {} is missing", file_.string(), slot);
    const TensorEntry& entry = found->second;
    const JsonView what = view_.object("tensors").object(slot);
    if (verify_) check_digest(entry, what);
    if (what.has("type")) return Weight(read_packed(entry, what, shape));
    if (entry.shape != shape || !is_weight_dtype(entry.dtype)) {
      fail("{}: tensor {} is {} {}, the configuration asks for {}", file_.string(), slot,
           short_name(entry.dtype), to_string(entry.shape), to_string(shape));
    }
    return map_tensor(entry);
  }

 private:
  void check_digest(const TensorEntry& entry, const JsonView& what) const {
    if (digest_of_bytes({entry.data, entry.bytes}) == what.string("digest")) return;
    throw Error(fmt::format("{}: tensor {} has another digest than {} says", file_.string(),
                            entry.name, packed_manifest_name),
                "the file is damaged; run moebius quantize again");
  }

  std::shared_ptr<const PackedWeight> read_packed(const TensorEntry& entry, const JsonView& what,
                                                  const Shape& shape) {
    const std::int64_t count = shape.size() == 3 ? shape[0] : 1,
                       group = what.integer("group", 8, 4096);
    if (shape.size() < 2 || group % 8 != 0) what.fail_key("group", "is not a multiple of 8");
    const PackedShape packed{packed_type_from(what.string("type"), what.where()),
                             shape[shape.size() - 2], shape.back(), group};
    const std::int64_t bytes = PackedWeight::bytes_of(packed, count);
    if (entry.dtype != DType::u8 || static_cast<std::int64_t>(entry.bytes) != bytes) {
      fail("{}: tensor {} has {} bytes, the configuration asks for {}", file_.string(), entry.name,
           entry.bytes, bytes);
    }
    auto memory = memory_.take(bytes);
    constexpr std::int64_t piece = 1 << 20;
    executor_.run((bytes + piece - 1) / piece, [&](std::int64_t p, int) {
      std::memcpy(memory.get() + p * piece, entry.data + p * piece,
                  static_cast<std::size_t>(std::min(piece, bytes - p * piece)));
    });
    return std::make_shared<const PackedWeight>(packed, count, std::move(memory));
  }

  fs::path file_;
  Json manifest_;
  JsonView view_;
  bool verify_;
  Executor& executor_;
  MemoryBlocks memory_;
  std::map<std::string, TensorEntry> entries_;
};

}  // namespace

std::string_view name_of(PackedType type) {
  constexpr std::string_view names[] = {"f32", "bf16", "int8", "int4"};
  return names[static_cast<int>(type)];
}

PackedType packed_type_from(std::string_view name, std::string_view where) {
  for (int type = 0; type < kernels::packed_types; ++type) {
    if (name_of(static_cast<PackedType>(type)) == name) return static_cast<PackedType>(type);
  }
  fail("{}: weights cannot be packed as {}", where, printable(name));
}

void save_packed(const Weights& weights, const fs::path& directory) {
  const std::vector<StoredWeight> list = list_weights(weights);
  std::vector<TensorPlan> plans;
  std::size_t total = 0;
  for (const StoredWeight& stored : list) {
    plans.push_back(stored.plan);
    total += stored.plan.bytes;
  }
  check_free_space(directory, total);
  OutputFile file(directory / packed_weights_name);
  file.append(safetensors_header(plans));
  Json manifest{{"format", packed_format},
                {"version", packed_version},
                {"weights", name_of(weights.head.packed()->shape().type)}};
  for (const StoredWeight& stored : list) {
    const auto bytes = stored.bytes();
    file.append({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    Json what{{"digest", digest_of_bytes(bytes)}};
    if (stored.packed != nullptr) {
      what["type"] = name_of(stored.packed->shape().type);
      what["group"] = stored.packed->shape().group;
    }
    manifest["tensors"][stored.plan.name] = std::move(what);
  }
  OutputFile(directory / packed_manifest_name).append(manifest.dump(1) + "\n");
}

PackedModel load_packed(const fs::path& directory, bool verify, Executor& executor) {
  Reader reader(directory, verify, executor);
  PackedModel out;
  out.type = reader.type();
  out.model.spec = read_model_spec(directory);
  const ModelSpec& spec = out.model.spec;
  out.model.weights = make_weights<Weight>(spec);
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, Weight& w, const Shape& shape) {
        const bool tied = shape.empty() && slot == "head.weight";
        if (tied || !shape.empty()) w = reader.read(slot, tied ? shapes.embed : shape);
      },
      out.model.weights, shapes);
  return out;
}

}  // namespace moebius

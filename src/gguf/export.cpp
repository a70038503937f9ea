#include "gguf/export.h"

#include <cmath>
#include <cstring>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/staged.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_model.h"
#include "gguf/tokenizer.h"

namespace moebius {
namespace {

constexpr std::size_t piece_bytes = 4 << 20;

/// The stored tensors that hold a slot: one per expert, or one for all, which may hold other slots.
struct SlotSource {
  std::vector<const TensorEntry*> tensors;  ///< one, or one per expert
  std::size_t part = 0, parts = 1;          ///< index and number of slots in a tensor
};

std::optional<GgufType> type_named(std::string_view name) {
  for (const GgufType type : {GgufType::f32, GgufType::f16, GgufType::bf16, GgufType::q8_0}) {
    if (name_of(type) == name) return type;
  }
  return std::nullopt;
}

/// llama.cpp's number for a file whose matrices have this type.
std::int64_t file_type(GgufType type) {
  switch (type) {
    case GgufType::f16:
      return 1;
    case GgufType::q8_0:
      return 7;
    case GgufType::bf16:
      return 32;
    default:
      return 0;
  }
}

class Exporter {
 public:
  Exporter(const fs::path& directory, const ExportOptions& options, const Context& ctx)
      : ctx_(ctx), directory_(directory), opened_(open_checkpoint(directory, ctx.log)) {
    check_gguf_can_represent(spec_, directory.string());
    type_ = type_named(options.dtype.empty() ? short_name(stored_dtype()) : options.dtype).value();
    for (const BoundTensor& tensor : bound_) {
      const std::vector<std::string>& slots = tensor.wanted.slots;
      for (std::size_t p = 0; p < slots.size(); ++p) {
        SlotSource& source = sources_[slots[p]];
        source.tensors.push_back(tensor.found);
        source.part = p;
        source.parts = slots.size();
      }
    }
    plan();
  }

  ExportReport run(const ExportOptions& options) {
    const auto start = Clock::now();
    GgufMetadata metadata = gguf_hyperparameters(spec_);
    GgufTokenizer tokenizer = tokenizer_to_gguf(directory_, spec_);
    metadata.merge(tokenizer.metadata);
    metadata["general.name"] = (options.model / "").parent_path().filename().string();
    metadata["general.file_type"] = file_type(type_);
    if (type_ == GgufType::q8_0) metadata["general.quantization_version"] = std::int64_t{2};
    const std::string header = gguf_header(metadata, tensors_);
    report_.bytes = gguf_file_bytes(header, tensors_);
    StagedFile out(options.out, options.overwrite);
    check_free_space(out.directory(), report_.bytes);
    out.file().append(header);
    write_tensors(out.file());
    ctx_.check_interrupt();
    out.commit();
    for (const std::string& warning : tokenizer.warnings) ctx_.log.warn("{}", warning);
    if (report_.narrow > 0) {
      ctx_.log.warn("{} tensors are written as f16: 32 does not divide their rows", report_.narrow);
    }
    report_.architecture = std::get<std::string>(metadata["general.architecture"]);
    report_.tensors = tensors_.size();
    report_.seconds = seconds_since(start);
    return report_;
  }

 private:
  /// The type that takes the most bytes.
  DType stored_dtype() const {
    std::map<DType, std::size_t> bytes;
    for (const BoundTensor& tensor : bound_) bytes[tensor.found->dtype] += tensor.found->bytes;
    return std::max_element(bytes.begin(), bytes.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; })
        ->first;
  }

  void plan() {
    const auto shapes = weight_shapes(spec_);
    for_each_weight(
        [&](const std::string& slot, const Shape& shape) {
          if (!shape.empty()) add_tensor(slot, gguf_name(slot), shape);
        },
        shapes);
    if (spec_.tied && gguf_needs_head(spec_)) {
      add_tensor("embed.weight", "output.weight", shapes.embed);
    }
    if (spec_.rope.scaling == RopeScaling::llama3) {
      factors_ = llama3_factors(spec_.rope, spec_.head_dim);
      tensors_.push_back({std::string(gguf_rope_factors),
                          GgufType::f32,
                          {static_cast<std::int64_t>(factors_.size())}});
      slots_.emplace_back();
    }
  }

  /// llama.cpp needs routers and tensors of one dimension in f32.
  void add_tensor(const std::string& slot, const std::string& name, Shape shape) {
    if (shape.size() == 2 && shape[0] == 1) shape.erase(shape.begin());  // the shared part's gate
    GgufType type = type_;
    if (shape.size() == 1 || slot.find(".router.") != std::string::npos) {
      type = GgufType::f32;
    } else if (type == GgufType::q8_0 &&
               shape.back() % static_cast<std::int64_t>(gguf_block_elements(type)) != 0) {
      type = GgufType::f16;
      ++report_.narrow;
    }
    tensors_.push_back({name, type, std::move(shape)});
    slots_.push_back(slot);
  }

  void write_tensors(OutputFile& file) {
    Progress progress(ctx_, "write", static_cast<double>(report_.bytes) / 1e6, "MB");
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      const GgufTensor& tensor = tensors_[t];
      if (slots_[t].empty()) {
        file.write_at(tensor.offset, std::as_bytes(std::span(factors_)));
        continue;
      }
      const std::size_t row = gguf_row_bytes(tensor.type, tensor.shape.back());
      const std::size_t rows = tensor.bytes / row;
      const std::size_t step = std::max<std::size_t>(1, piece_bytes / row);
      for (std::size_t begin = 0; begin < rows; begin += step) {
        ctx_.check_interrupt();
        const std::size_t end = std::min(rows, begin + step);
        file.write_at(tensor.offset + begin * row, rows_of(t, begin, end));
        progress.update(static_cast<double>(tensor.offset + end * row) / 1e6);
      }
    }
    // Padding up to the size that was announced.
    const std::size_t end = tensors_.back().offset + tensors_.back().bytes;
    file.write_at(end, std::vector<std::byte>(report_.bytes - end));
  }

  /// Rows [begin, end) of a tensor, counted over all experts, in the type and order of the file.
  std::span<const std::byte> rows_of(std::size_t t, std::size_t begin, std::size_t end) {
    const GgufTensor& tensor = tensors_[t];
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    const std::size_t row_bytes = gguf_row_bytes(tensor.type, tensor.shape.back());
    const auto in_expert = tensor.shape.size() == 1
                               ? 1
                               : static_cast<std::size_t>(tensor.shape[tensor.shape.size() - 2]);
    const bool interleaved = gguf_interleaves(spec_, slots_[t]);
    if (interleaved && tensor.shape.size() == 1) return interleaved_bias(t);
    const SlotSource& source = sources_.at(slots_[t]);
    piece_.resize((end - begin) * row_bytes);
    parallel_for((end - begin) * columns, ctx_.threads, [&](std::size_t from, std::size_t to) {
      std::vector<float> values(columns);
      for (std::size_t r = from / columns; r < to / columns; ++r) {
        const std::size_t expert = (begin + r) / in_expert;
        auto row = static_cast<std::int64_t>((begin + r) % in_expert);
        if (interleaved) row = interleaved_row(row, spec_.head_dim);
        const bool apart = source.tensors.size() > 1;
        const TensorEntry& entry = *source.tensors[apart ? expert : 0];
        const std::size_t before = ((apart ? 0 : expert) * source.parts + source.part) * in_expert;
        const std::byte* stored =
            entry.data + (before + static_cast<std::size_t>(row)) * columns * size_of(entry.dtype);
        convert_row(stored, entry, tensor.type, values, piece_.data() + r * row_bytes);
      }
    });
    return piece_;
  }

  /// An interleaved bias, whose rows are single numbers.
  std::span<const std::byte> interleaved_bias(std::size_t t) {
    const TensorEntry& entry = *sources_.at(slots_[t]).tensors[0];
    const auto count = static_cast<std::size_t>(tensors_[t].shape[0]);
    piece_.resize(count * sizeof(float));
    for (std::size_t i = 0; i < count; ++i) {
      const auto from = interleaved_row(static_cast<std::int64_t>(i), spec_.head_dim);
      store_weight(piece_.data(), DType::f32, i,
                   load_weight(entry.data, entry.dtype, static_cast<std::size_t>(from)));
    }
    return piece_;
  }

  void convert_row(const std::byte* stored, const TensorEntry& entry, GgufType type,
                   std::vector<float>& values, std::byte* to) const {
    const auto before = static_cast<std::size_t>(stored - entry.data) / size_of(entry.dtype);
    check_finite(entry, before, values.size());
    if (name_of(type) == short_name(entry.dtype)) {
      std::memcpy(to, stored, values.size() * size_of(entry.dtype));
      return;
    }
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = load_weight(stored, entry.dtype, i);
    if (type == GgufType::q8_0) return quantize_q8_0(values.data(), values.size(), to);
    const DType dtype = dtype_of(type);
    for (std::size_t i = 0; i < values.size(); ++i) store_weight(to, dtype, i, values[i]);
    if (find_non_finite(to, dtype, values.size()) != values.size()) {
      throw Error(fmt::format("{}: tensor {} holds a weight beyond {}", entry.file->path().string(),
                              entry.name, name_of(type)),
                  "--dtype bf16 or f32 holds it");
    }
  }

  const Context& ctx_;
  fs::path directory_;
  const Checkpoint opened_;
  const ModelSpec& spec_ = opened_.spec;
  const std::vector<BoundTensor>& bound_ = opened_.bound;
  GgufType type_ = GgufType::f32;
  std::map<std::string, SlotSource> sources_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::string> slots_;  // of each tensor; empty for the rotary factors
  std::vector<float> factors_;
  std::vector<std::byte> piece_;
  ExportReport report_;
};

}  // namespace

void ExportOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("out", out, "file to write").required = true;
  options.choice("format", format, "of the file", {"gguf"});
  options.choice("dtype", dtype, "of the matrices (default: as the source)",
                 {"f32", "f16", "bf16", "q8_0"});
}

ExportReport export_gguf(const fs::path& directory, const ExportOptions& options,
                         const Context& ctx) {
  return Exporter(directory, options, ctx).run(options);
}

}  // namespace moebius

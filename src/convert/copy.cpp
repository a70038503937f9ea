#include "convert/copy.h"

#include <array>
#include <future>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/progress.h"

namespace moebius {
namespace {

// Larger writes fill the page cache with large folios, which in virtual machines come from memory
// that the host has yet to provide: 1 MB took seven times as long.
constexpr std::size_t piece_bytes = 64 << 10;

/// A destination in the output.
struct Target {
  std::size_t tensor;  ///< number in the plan
  std::size_t offset;  ///< bytes from its beginning
};

class Copier {
 public:
  Copier(const Sources& sources, const OutputPlan& plan, ShardedWriter& writer, const Context& ctx,
         const std::atomic<bool>& cancel)
      : sources_(sources),
        writer_(writer),
        ctx_(ctx),
        cancel_(cancel),
        progress_(ctx, "write", static_cast<double>(writer.total_bytes()) / 1e6, "MB") {
    for (const Source& source : sources) {
      for (const BoundTensor& tensor : source.bound) targets_[tensor.found];
    }
    for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
      std::size_t offset = 0;
      for (const TensorPart& part : plan.tensors[t].parts) {
        if (part.source != nullptr) {
          targets_[part.source].push_back({t, offset});
        } else {
          made_.emplace_back(&part, Target{t, offset});
        }
        offset += part.bytes;
      }
    }
  }

  std::vector<Digests> run() {
    std::vector<Digests> digests;
    for (const Source& source : sources_) {
      Digests& files = digests.emplace_back();
      for (const auto& file : source.index.files()) {
        files[file->path().filename().string()] = copy_file(source, *file);
      }
    }
    for (const auto& [part, target] : made_) {
      ctx_.check_interrupt();
      if (cancel_) break;
      start([this, &part = *part, target] { write_piecewise(part.make(), {target}); });
    }
    for (std::future<void>& writing : writing_) {
      if (writing.valid()) writing.get();
    }
    return digests;
  }

 private:
  /// Tensors in the order of the data; the bytes between them are hashed too. A tensor that shares
  /// bytes with an earlier one, or owns its bytes, is not hashed.
  std::string copy_file(const Source& source, const MappedFile& file) {
    Digest digest;
    const std::byte* at = file.bytes().data();
    for (const TensorEntry& entry : source.index.tensors()) {
      if (entry.file.get() != &file || entry.bytes == 0) continue;
      const bool hash = entry.owned == nullptr && entry.data >= at;
      if (hash) digest.add({at, entry.data});
      copy_tensor(entry, hash ? &digest : nullptr);
      if (hash) at = entry.data + entry.bytes;
    }
    digest.add({at, file.bytes().data() + file.bytes().size()});
    return digest.hex();
  }

  /// Hashes (into `digest`, if any) and scans the tensor, then starts writing it in the background.
  void copy_tensor(const TensorEntry& entry, Digest* digest) {
    const auto found = targets_.find(&entry);
    const std::size_t item = size_of(entry.dtype);
    for (std::size_t begin = 0; begin < entry.bytes; begin += piece_bytes) {
      if (cancel_) return;
      ctx_.check_interrupt();
      const std::size_t size = std::min(piece_bytes, entry.bytes - begin);
      if (digest != nullptr) digest->add({entry.data + begin, size});
      if (found != targets_.end()) check_finite(entry, begin / item, size / item);
    }
    if (found == targets_.end() || found->second.empty()) return;
    progress_.update(static_cast<double>(done_) / 1e6);
    start([this, &entry, &targets = found->second] {
      write_piecewise({entry.data, entry.bytes}, targets);
    });
  }

  /// Runs `write` in the background, at most two at once.
  void start(std::function<void()> write) {
    std::future<void>& writing = writing_[next_writer_++ % writing_.size()];
    if (writing.valid()) writing.get();
    writing = std::async(std::launch::async, std::move(write));
  }

  void write_piecewise(std::span<const std::byte> bytes, const std::vector<Target>& targets) {
    for (std::size_t begin = 0; begin < bytes.size(); begin += piece_bytes) {
      if (cancel_) return;
      ctx_.check_interrupt();
      const auto piece = bytes.subspan(begin, std::min(piece_bytes, bytes.size() - begin));
      for (const Target& target : targets) {
        writer_.write(target.tensor, target.offset + begin, piece);
        done_ += piece.size();
      }
    }
  }

  const Sources& sources_;
  ShardedWriter& writer_;
  const Context& ctx_;
  const std::atomic<bool>& cancel_;
  Progress progress_;
  std::map<const TensorEntry*, std::vector<Target>> targets_;
  std::vector<std::pair<const TensorPart*, Target>> made_;
  std::atomic<std::size_t> done_ = 0;
  std::size_t next_writer_ = 0;
  std::array<std::future<void>, 2> writing_;  // last member: joined before the others are destroyed
};

}  // namespace

CopyResult copy_weights(const Sources& sources, const OutputPlan& plan, const fs::path& directory,
                        std::size_t max_shard_bytes, const Context& ctx,
                        const std::atomic<bool>& cancel) {
  std::vector<TensorMeta> metas;
  for (const OutputTensor& tensor : plan.tensors) {
    metas.push_back({tensor.wanted.name, tensor.dtype, tensor.wanted.shape});
  }
  ShardedWriter writer(directory, metas, max_shard_bytes);
  CopyResult result;
  result.digests = Copier(sources, plan, writer, ctx, cancel).run();
  result.bytes = writer.total_bytes();
  if (!cancel) writer.finish();
  return result;
}

}  // namespace moebius

#include "checkpoint/packed.h"

#include "base/error.h"

namespace moebius {

bool has_packed_weights(const fs::path& directory) {
  return fs::exists(directory / packed_manifest_name);
}

Json read_packed_manifest(const fs::path& directory) {
  Json manifest = parse_json_file(directory / packed_manifest_name);
  const JsonView view(manifest, (directory / packed_manifest_name).string());
  if (view.string("format") != packed_format) view.fail_key("format", "is another one");
  const std::int64_t found = view.integer("version", 0, INT64_MAX);
  if (found != packed_version) {
    throw Error(fmt::format("{}: packed in version {}, this program reads version {}", view.where(),
                            found, packed_version),
                "run moebius quantize again");
  }
  return manifest;
}

}  // namespace moebius

#include "hub/download.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "hub/url.h"
#include "hub/verify.h"

namespace moebius::hub {
namespace {

constexpr std::size_t max_listing = 64 << 20;
/// An attempt that transferred this many bytes does not count as a failure.
constexpr std::uint64_t worthwhile = 16 << 20;

/// An etag without quotes and without the mark of a weak one; empty if it cannot be a file name.
std::string plain_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  const bool plain =
      !etag.empty() && etag.size() <= 128 && etag.front() != '.' &&
      std::all_of(etag.begin(), etag.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
      });
  return plain ? etag : std::string();
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > (1ULL << 60)) return {};
  return value;
}

/// Whether a path stays inside the directory that it is relative to.
bool is_inside(const std::string& path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string::npos) return false;
  for (const fs::path& part : fs::path(path)) {
    if (part == ".." || part == ".") return false;
  }
  return true;
}

/// Size of the part that exists already; anything but a file is removed.
std::uint64_t size_so_far(const fs::path& file) {
  const auto status = fs::symlink_status(file);
  if (!fs::exists(status)) return 0;
  if (!fs::is_regular_file(status)) {
    fs::remove_all(file);
    return 0;
  }
  return fs::file_size(file);
}

/// "bytes 100-199/200" -> whether the part begins at `from` of `size`.
bool is_range(std::string_view text, std::uint64_t from, std::uint64_t size) {
  return text == fmt::format("bytes {}-{}/{}", from, size - 1, size) ||
         text == fmt::format("bytes {}-{}/*", from, size - 1);
}

}  // namespace

Repository::Repository(const Settings& settings, const Name& name, const Context& ctx)
    : settings_(settings),
      name_(name),
      ctx_(ctx),
      client_(settings, ctx),
      cache_(settings.cache, name) {}

void Repository::fail_status(const Response& response, const std::string& what) const {
  const std::string code = response.header("x-error-code");
  const std::string head = fmt::format("{}: {}", name_.text(), what);
  if (response.status == 401 || response.status == 403) {
    const bool gated = code == "GatedRepo";
    throw Error(fmt::format("{}: {} refuses access ({}){}", head, settings_.endpoint,
                            response.status, gated ? "; the model is gated" : ""),
                settings_.token.empty()
                    ? "set HF_TOKEN to a token that may read it, or check the name"
                : gated ? "ask for access on the model's page; HF_TOKEN was sent"
                        : "HF_TOKEN was sent and does not suffice, or the name is wrong");
  }
  if (response.status == 404) {
    throw Error(fmt::format("{}: {} has no such {}", head, settings_.endpoint,
                            code == "RevisionNotFound" ? "revision" : "model, revision or file"),
                "check the spelling; a directory of that name is not there either");
  }
  throw Error(fmt::format("{}: {} answers {}", head, settings_.endpoint, response.status),
              response.is_transient() ? "try again later" : "check HF_ENDPOINT");
}

Revision Repository::revision() {
  const std::string url = fmt::format("{}/api/models/{}/revision/{}", settings_.endpoint,
                                      name_.id(), escape_component(name_.revision));
  const Response response = client_.get(url, max_listing);
  if (response.status != 200) fail_status(response, "cannot be looked up");
  const Json json = parse_json(response.body, url);
  const JsonView view(json, url);
  Revision revision;
  revision.commit = view.string("sha");
  if (!is_commit(revision.commit)) fail("{}: \"sha\" is not a commit", url);
  for (const JsonView& sibling : view.objects("siblings")) {
    const std::string file = sibling.string("rfilename");
    if (!is_inside(file))
      fail("{}: lists a file \"{}\" outside the repository", url, printable(file));
    revision.files.insert(file);
  }
  return revision;
}

Repository::Description Repository::describe(const std::string& url, const std::string& file) {
  const Response response = client_.head(url);
  const bool elsewhere = response.status >= 300 && response.status < 400;
  if (response.status != 200 && !elsewhere) fail_status(response, file);
  const auto either = [&](std::string_view first, std::string_view second) {
    const std::string value = response.header(first);
    return value.empty() ? response.header(second) : value;
  };
  Description about;
  about.etag = plain_etag(either("x-linked-etag", "etag"));
  if (about.etag.empty()) fail("{}: is sent without an ETag", url);
  const auto size = parse_number(elsewhere ? response.header("x-linked-size")
                                           : either("x-linked-size", "content-length"));
  if (!size) fail("{}: is sent without its size", url);
  about.size = *size;
  return about;
}

void Repository::fetch(const std::string& commit, const std::string& file) {
  if (fs::exists(cache_.snapshot(commit) / file)) return;
  const std::string url =
      fmt::format("{}/{}/resolve/{}/{}", settings_.endpoint, name_.id(), commit, escape_path(file));
  const Description about = describe(url, file);
  const FileLock lock(cache_.lock_file(about.etag), ctx_);
  const fs::path blob = cache_.blob(about.etag);
  if (!fs::is_regular_file(blob) || fs::file_size(blob) != about.size) transfer(url, file, about);
  cache_.link(commit, file, about.etag);
}

void Repository::transfer(const std::string& url, const std::string& file,
                          const Description& about) {
  const fs::path blob = cache_.blob(about.etag);
  fs::path part = blob;
  part += ".incomplete";
  fs::create_directories(blob.parent_path());
  Retries retries(ctx_);
  {
    Progress progress(ctx_, "fetch " + printable(file), static_cast<double>(about.size) / 1e6,
                      "MB");
    for (;;) {
      const std::uint64_t before = size_so_far(part);
      try {
        attempt(url, part, about, progress);
        break;
      } catch (const Unreachable&) {
        if (size_so_far(part) >= before + worthwhile) retries.reset();
        if (!retries.wait()) throw;
      }
    }
  }
  try {
    check_digest(part, about.etag, ctx_);
  } catch (const Error&) {
    fs::remove(part);
    throw;
  }
  OutputFile(part, OutputFile::Mode::append).sync();
  fs::rename(part, blob);
}

void Repository::attempt(const std::string& url, const fs::path& part, const Description& about,
                         Progress& progress) {
  std::uint64_t have = size_so_far(part);
  if (have > about.size) have = 0;
  if (have > 0 && have == about.size) return;
  check_free_space(part.parent_path(), about.size - have);
  std::optional<OutputFile> out;
  const auto open_at = [&](std::uint64_t from) {
    have = from;
    out.reset();
    out.emplace(part, from == 0 ? OutputFile::Mode::truncate : OutputFile::Mode::append);
  };
  if (about.size == 0) open_at(0);
  const std::uint64_t asked = have;
  const Sink sink{[&](const Response& response) {
                    const bool partial = response.status == 206;
                    if (partial && !is_range(response.header("content-range"), asked, about.size)) {
                      fail("{}: sends \"{}\" where bytes from {} on of {} were asked for", url,
                           response.header("content-range"), asked, about.size);
                    }
                    const std::uint64_t from = partial ? asked : 0;
                    const std::string length = response.header("content-length");
                    if (!length.empty() && parse_number(length) != about.size - from) {
                      fail("{}: sends {} bytes, {} were announced", url, length, about.size - from);
                    }
                    open_at(from);
                  },
                  [&](std::string_view bytes) {
                    if (bytes.size() > about.size - have) {
                      out.reset();
                      fs::remove(part);
                      fail("{}: sends more than the {} bytes that were announced", url, about.size);
                    }
                    out->append(bytes);
                    have += bytes.size();
                    progress.update(static_cast<double>(have) / 1e6);
                  }};
  const Response response = client_.get(url, asked, sink);
  if (response.status == 416) fs::remove(part);  // the part belongs to a different file
  if (response.status == 416 || response.is_transient()) {
    throw Unreachable(fmt::format("{}: answers {}", url, response.status), "try again later");
  }
  if (response.status != 200 && response.status != 206) fail_status(response, url);
  if (have != about.size) {
    throw Unreachable(fmt::format("{}: ended after {} of {} bytes", url, have, about.size),
                      "try again; what came is kept");
  }
}

}  // namespace moebius::hub

// Reading of documents from text files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace moebius {

namespace fs = std::filesystem;

/// `.jsonl`: one object a line, blank lines skipped; `.json`: an array of objects; in both the
/// string under `key` is one document. Any other extension: the whole file is one document.
/// Throws Error naming the file, and the line or record, when something is malformed; also when
/// all documents together hold no text.
std::vector<std::string> read_documents(const fs::path& file, const std::string& key = "text");

}  // namespace moebius

// Training of a byte-level BPE vocabulary, as GPT-2's, from documents.
#pragma once

#include <functional>
#include <span>
#include <string>

namespace moebius {

/// The tokenizer.json: special tokens with the ids from 0, then the 256 bytes, then the merges,
/// most frequent first. They are those that Hugging Face's BpeTrainer finds, ties included. The
/// vocabulary is smaller than asked if the documents give no more pairs. Throws Error if
/// `vocab_size` leaves no room for special tokens and bytes, or if a document is not UTF-8.
/// `progress` (may be empty) is called after each merge and may throw to stop the training.
std::string train_byte_level_bpe(std::span<const std::string> documents, int vocab_size,
                                 std::span<const std::string> special_tokens,
                                 const std::function<void(int done, int total)>& progress);

}  // namespace moebius

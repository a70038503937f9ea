// Lines of text input, however the system that wrote them ends a line.
#pragma once

#include <optional>
#include <string_view>

namespace moebius {

/// `text` without the UTF-8 byte order mark that Windows programs write at the start of a file.
std::string_view without_byte_order_mark(std::string_view text);

/// `line`, which holds no '\n', without the '\r' of a CRLF line end.
std::string_view without_carriage_return(std::string_view line);

/// Iterates over the lines of a text that ends them with LF or CRLF and may begin with a byte
/// order mark. A '\r' anywhere else belongs to its line. The text must outlive the reader.
class LineReader {
 public:
  explicit LineReader(std::string_view text) : rest_(without_byte_order_mark(text)) {}

  /// The next line without its end; empty lines count. None after the last one; a line end that
  /// ends the text begins no further line.
  std::optional<std::string_view> next();
  /// Number of the line that `next` returned last, counted from 1.
  std::size_t number() const { return number_; }

 private:
  std::string_view rest_;
  std::size_t number_ = 0;
};

}  // namespace moebius

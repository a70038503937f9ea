// Limit on the recursion of the parser, and so of the recursive functions on its tree.
#pragma once

#include "text/jinja/parser.h"

namespace moebius::jinja {

constexpr int kMaxHeight = 150;

class Parser::Level {
 public:
  explicit Level(Parser& parser) : parser_(parser) {
    if (++parser_.depth_ > kMaxHeight) {
      --parser_.depth_;
      fail_at(parser_.current().line, "the template nests too deeply");
    }
  }
  ~Level() { --parser_.depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Parser& parser_;
};

}  // namespace moebius::jinja

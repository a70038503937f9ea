// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace moebius::jinja {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;
using Body = std::vector<Statement>;

struct Expression {
  enum class Kind {
    constant,     ///< `constant`; a string constant is in `name`
    variable,     ///< `name`
    attribute,    ///< children[0].name
    item,         ///< children[0][children[1]]
    slice,        ///< children[0][children[1]:children[2]:children[3]], absent parts null
    call,         ///< children[0](arguments)
    filter,       ///< children[0] | name(arguments); children[0] is null for a filter block
    test,         ///< children[0] is name(arguments)
    list,         ///< [children...]
    tuple,        ///< (children...)
    dict,         ///< {children[0]: children[1], ...}
    unary,        ///< name children[0]: "-", "+", "not"
    binary,       ///< children[0] name children[1]: arithmetic
    concat,       ///< children joined as text: "~"
    both,         ///< children[0] and children[1]
    either,       ///< children[0] or children[1]
    compare,      ///< children[0] operators[0] children[1] operators[1] children[2] ...
    conditional,  ///< children[0] if children[1] else children[2], which may be null
  };
  enum class Spread { none, list, dict };  ///< `*children`, `**children` of a call
  struct Argument {
    std::string name;  ///< empty: by position
    Spread spread = Spread::none;
    ExpressionPtr value;
  };

  Kind kind = Kind::constant;
  int line = 1;
  int height = 1;  ///< levels of the tree from this node down
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> children;
  std::vector<Argument> arguments;
  std::vector<std::string> operators;
};

/// Target of an assignment: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  std::string name, attribute;  ///< `name.attribute` if the latter is not empty
  std::vector<Target> parts;    ///< of a tuple
  bool is_tuple = false;
  int line = 1;
};

/// The parameters of a macro or of a call block.
struct Signature {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  ///< of the last parameters
  bool takes_caller = false, takes_more = false, takes_named = false;
};

struct Statement {
  enum class Kind {
    text,      ///< `text`
    output,    ///< {{ value }}
    branches,  ///< if: `branches`, the last without condition for else
    loop,      ///< for target in value if condition: body, otherwise
    set,       ///< target = value
    capture,   ///< target = body, through filter `value` if not null
    scope,     ///< with: targets = values, body; also generation
    filter,    ///< body through filter `value`
    macro,     ///< signature, body
    call,      ///< value, with the body as `caller`
    leave,     ///< break
    proceed,   ///< continue
  };
  struct Branch {
    ExpressionPtr condition;
    Body body;
  };

  Kind kind = Kind::text;
  int line = 1;
  std::string text;
  ExpressionPtr value, condition;
  Target target;
  std::vector<Target> targets;
  std::vector<ExpressionPtr> values;
  std::vector<Branch> branches;
  Body body, otherwise;
  Signature signature;
};

}  // namespace moebius::jinja

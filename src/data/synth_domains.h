// The four domains of the synthetic corpus, each a table of rules in its own file.
#pragma once

#include <vector>

#include "data/grammar.h"

namespace moebius {

Domain finance_domain();
Domain legal_domain();
Domain code_domain();
Domain general_domain();

/// The patterns of code, without the words that they use.
std::vector<Rule> code_list_rules();
std::vector<Rule> code_object_rules();

/// Sets the figures that the rules of finance name.
void bind_finance(Expansion& x);

}  // namespace moebius

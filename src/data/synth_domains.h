// The four domains of the synthetic corpus, each a table of rules in its own file.
#pragma once

#include <vector>

#include "data/grammar.h"

namespace moebius::synth {

Domain finance_domain();
Domain legal_domain();
Domain code_domain();
Domain general_domain();

/// Rules for patterns of code; the words that they use are rules of the domain.
std::vector<Rule> code_list_rules();
std::vector<Rule> code_object_rules();

/// Sets the figures that the rules of finance refer to.
void bind_finance(Expansion& x);

}  // namespace moebius::synth

// Code: Python functions and small classes. Names are drawn once per sample and used throughout;
// the examples below a function state its actual results.

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "data/synth_domains.h"

namespace moebius::synth {
namespace {

std::string list(const std::vector<std::int64_t>& values) {
  return fmt::format("[{}]", fmt::join(values, ", "));
}

/// Sets a list of numbers and its sum, extremes, elements above a limit and running sums.
void bind_code(Expansion& x) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(x.draw(4, 6)));
  for (std::int64_t& value : values) value = x.draw(1, 60);
  const std::int64_t limit = x.draw(10, 40), factor = x.draw(2, 9);
  std::vector<std::int64_t> above, scaled, running;
  std::int64_t sum = 0;
  for (const std::int64_t value : values) {
    if (value > limit) {
      above.push_back(value);
      scaled.push_back(value * factor);
    }
    running.push_back(sum += value);
  }
  x.set("values", list(values));
  x.set("limit", std::to_string(limit));
  x.set("factor", std::to_string(factor));
  x.set("sum", std::to_string(sum));
  x.set("largest", std::to_string(*std::ranges::max_element(values)));
  x.set("smallest", std::to_string(*std::ranges::min_element(values)));
  x.set("above", list(above));
  x.set("scaled", list(scaled));
  x.set("above_count", std::to_string(above.size()));
  x.set("running", list(running));
  std::ranges::sort(values);
  x.set("sorted", list(values));
  x.set("number", std::to_string(x.draw(2, 900)));
  x.set("size", std::to_string(std::int64_t{1} << x.draw(3, 12)));
}

}  // namespace

Domain code_domain() {
  Domain domain{
      "code",
      {
          {"sample",
           {{3, "<filter>"},
            {3, "<total>"},
            {2, "<extreme>"},
            {2, "<running_sums>"},
            {3, "<count>"},
            {2, "<binary_search>"},
            {3, "<class>"},
            {2, "<read_file>"},
            {2, "<recursion>"},
            {2, "<sorting>"},
            {2, "<matrix>"},
            {2, "<cache>"},
            {2, "<generator>"}}},
          {"noun",
           {"order | user | item | event | record | node | token | packet | ticket | message | "
            "task | sensor | block | session | image | line | word | sample | job | device"}},
          {"field",
           {"price | weight | score | length | age | size | level | rank | count | cost | depth | "
            "delay | width | offset"}},
          {"text_field", {"name | label | kind | status | owner | group | color | path"}},
          {"result_name", {"result | output | found | selected | collected | kept"}},
          {"total_name", {"total | amount | acc | running | subtotal"}},
          {"index_name", {"i | index | pos | k"}},
          {"limit_name", {"limit | threshold | minimum | bound | cutoff"}},
          {"helper_verb", {"load | fetch | collect | prepare | build | scan"}},
          {"error", {"ValueError | TypeError | RuntimeError"}},
          {"message", {"empty input | no <s thing> given | invalid <thing> | <attr> out of range"}},
      },
      {{"thing", "noun"},
       {"attr", "field"},
       {"label", "text_field"},
       {"other", "noun"},
       {"res", "result_name"},
       {"acc", "total_name"},
       {"ind", "index_name"},
       {"limit_var", "limit_name"},
       {"verb", "helper_verb"},
       {"mid", "mid_name"},
       {"module", "module_name"}},
      bind_code,
      true};
  for (const auto& rules : {code_list_rules(), code_object_rules()}) {
    domain.rules.insert(domain.rules.end(), rules.begin(), rules.end());
  }
  return domain;
}

}  // namespace moebius::synth

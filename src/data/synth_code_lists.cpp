// Python patterns over lists of numbers and records: filter, sum, search, sort.

#include "data/synth_domains.h"

namespace moebius::synth {

std::vector<Rule> code_list_rules() {
  return {
      {"doc_filter",
       {"\"\"\"Return every <thing> whose <attr> is above <limit_var>.\"\"\"",
        "\"\"\"Keep the <s thing> with <a attr> greater than <limit_var>.\"\"\""}},
      {"filter", {"<filter_loop>", "<filter_values>"}},
      {"filter_loop",
       {"def select_<s thing>(<s thing>, <limit_var>=<limit>):\n"
        "    <doc_filter>\n"
        "    <res> = []\n"
        "    for <thing> in <s thing>:\n"
        "        if <thing>.<attr> <= <limit_var>:\n"
        "            continue\n"
        "        <keep>\n"
        "    return <res>\n\n\n"
        "def first_<thing>(<s thing>, <label>):\n"
        "    for <thing> in <s thing>:\n"
        "        if <thing>.<label> == <label>:\n"
        "            return <thing>\n"
        "    return None"}},
      {"keep",
       {"<res>.append(<thing>)", "<res>.append(<thing>.<label>)",
        "<res>.append((<thing>.<label>, <thing>.<attr>))",
        "if <thing>.<label> is not None:\n    <res>.append(<thing>)"}},
      {"filter_values",
       {"def <s attr>_above(<s attr>, <limit_var>):\n"
        "    <res> = []\n"
        "    for <attr> in <s attr>:\n"
        "        if <attr> > <limit_var>:\n"
        "            <res>.append(<attr>)\n"
        "    return <res>\n\n\n"
        "def scaled_<s attr>(<s attr>, <limit_var>, factor=<factor>):\n"
        "    return [<attr> * factor for <attr> in <s attr>_above(<s attr>, <limit_var>)]\n\n\n"
        "<s attr> = <values>\n"
        "assert <s attr>_above(<s attr>, <limit>) == <above>\n"
        "assert scaled_<s attr>(<s attr>, <limit>) == <scaled>"}},
      {"total",
       {"def total_<attr>(<s thing>):\n"
        "    \"\"\"Add up the <attr> of all <s thing>.\"\"\"\n"
        "    <acc> = 0\n"
        "    for <thing> in <s thing>:\n"
        "        <acc> += <thing>[\"<attr>\"]\n"
        "    return <acc>\n\n\n"
        "def average_<attr>(<s thing>):\n"
        "    if not <s thing>:\n"
        "        return 0.0\n"
        "    return total_<attr>(<s thing>) / len(<s thing>)\n\n\n"
        "<s thing> = [{\"<attr>\": value} for value in <values>]\n"
        "assert total_<attr>(<s thing>) == <sum>",
        "def sum_<s attr>(<s attr>):\n"
        "    <acc> = 0\n"
        "    <ind> = 0\n"
        "    while <ind> < len(<s attr>):\n"
        "        <acc> += <s attr>[<ind>]\n"
        "        <ind> += 1\n"
        "    return <acc>\n\n\n"
        "def count_above(<s attr>, <limit_var>=<limit>):\n"
        "    return sum(1 for <attr> in <s attr> if <attr> > <limit_var>)\n\n\n"
        "if __name__ == \"__main__\":\n"
        "    <s attr> = <values>\n"
        "    print(sum_<s attr>(<s attr>))  # <sum>\n"
        "    print(count_above(<s attr>))  # <above_count>"}},
      {"extreme",
       {"def largest_<attr>(<s attr>):\n"
        "    \"\"\"Return the largest <attr>, or None if there is none.\"\"\"\n"
        "    best = None\n"
        "    for <attr> in <s attr>:\n"
        "        if best is None or <attr> > best:\n"
        "            best = <attr>\n"
        "    return best\n\n\n"
        "def smallest_<attr>(<s attr>):\n"
        "    best = <s attr>[0]\n"
        "    for <ind> in range(1, len(<s attr>)):\n"
        "        if <s attr>[<ind>] < best:\n"
        "            best = <s attr>[<ind>]\n"
        "    return best\n\n\n"
        "assert largest_<attr>(<values>) == <largest>\n"
        "assert smallest_<attr>(<values>) == <smallest>",
        "def best_<thing>(<s thing>):\n"
        "    <guard_none>\n"
        "    best = <s thing>[0]\n"
        "    for <thing> in <s thing>[1:]:\n"
        "        if <thing>.<attr> > best.<attr>:\n"
        "            best = <thing>\n"
        "        elif <thing>.<attr> == best.<attr> and <thing>.<label> < best.<label>:\n"
        "            best = <thing>\n"
        "    return best\n\n\n"
        "def best_<label>(<s thing>):\n"
        "    best = best_<thing>(<s thing>)\n"
        "    return best.<label> if best is not None else <number>"}},
      {"guard_none",
       {"if not <s thing>:\n    return None",
        "if not <s thing>:\n    raise <error>(\"<message>\")"}},
      {"running_sums",
       {"def running_<attr>(<s attr>):\n"
        "    \"\"\"Return the <sums> of <s attr>.\"\"\"\n"
        "    <res> = []\n"
        "    <acc> = 0\n"
        "    for <attr> in <s attr>:\n"
        "        <acc> += <attr>\n"
        "        <res>.append(<acc>)\n"
        "    return <res>\n\n\n"
        "def differences(<s attr>):\n"
        "    return [b - a for a, b in zip(<s attr>, <s attr>[1:])]\n\n\n"
        "<s attr> = <values>\n"
        "assert running_<attr>(<s attr>) == <running>\n"
        "assert running_<attr>(<s attr>)[-1] == <sum>\n"
        "assert differences(<running>) == <s attr>[1:]"}},
      {"sums", {"running sums | prefix sums | cumulative sums"}},
      {"binary_search",
       {"def find_<attr>(<s attr>, target):\n"
        "    \"\"\"Binary search in sorted <s attr>; -1 if target is absent.\"\"\"\n"
        "    low, high = 0, len(<s attr>) - 1\n"
        "    while low <= high:\n"
        "        <mid> = (low + high) // 2\n"
        "        if <s attr>[<mid>] == target:\n"
        "            return <mid>\n"
        "        if <s attr>[<mid>] < target:\n"
        "            low = <mid> + 1\n"
        "        else:\n"
        "            high = <mid> - 1\n"
        "    return -1\n\n\n"
        "<s attr> = sorted(<values>)\n"
        "assert <s attr> == <sorted>\n"
        "assert <s attr>[find_<attr>(<s attr>, <largest>)] == <largest>"}},
      {"mid_name", {"mid | middle | center | m"}},
      {"sorting",
       {"def sort_<s thing>(<s thing>):\n"
        "    \"\"\"Insertion sort by <attr>, in place.\"\"\"\n"
        "    for <ind> in range(1, len(<s thing>)):\n"
        "        <thing> = <s thing>[<ind>]\n"
        "        j = <ind> - 1\n"
        "        while j >= 0 and <s thing>[j][\"<attr>\"] > <thing>[\"<attr>\"]:\n"
        "            <s thing>[j + 1] = <s thing>[j]\n"
        "            j -= 1\n"
        "        <s thing>[j + 1] = <thing>\n"
        "    return <s thing>\n\n\n"
        "<s thing> = [{\"<attr>\": value} for value in <values>]\n"
        "assert [<thing>[\"<attr>\"] for <thing> in sort_<s thing>(<s thing>)] == <sorted>"}},
  };
}

}  // namespace moebius::synth

// Python patterns with dictionaries, classes, files, trees, caches and generators.

#include "data/synth_domains.h"

namespace moebius::synth {

std::vector<Rule> code_object_rules() {
  return {
      {"count",
       {"def count_by_<label>(<s thing>):\n"
        "    counts = {}\n"
        "    for <thing> in <s thing>:\n"
        "        key = <thing>.<label>\n"
        "        <increment>\n"
        "    return counts\n\n\n"
        "def most_common_<label>(<s thing>, <limit_var>=<limit>):\n"
        "    counts = count_by_<label>(<s thing>)\n"
        "    <guard_counts>\n"
        "    ranked = sorted(counts.items(), key=lambda pair: pair[1], reverse=True)\n"
        "    return ranked[:<limit_var>]",
        "from collections import defaultdict\n\n\n"
        "def group_<s thing>(<s thing>):\n"
        "    \"\"\"Map each <label> to its <s thing>.\"\"\"\n"
        "    groups = defaultdict(list)\n"
        "    for <thing> in <s thing>:\n"
        "        groups[<thing>.<label>].append(<thing>)\n"
        "    return groups\n\n\n"
        "def <attr>_per_<label>(<s thing>):\n"
        "    <res> = {}\n"
        "    for <label>, members in group_<s thing>(<s thing>).items():\n"
        "        <res>[<label>] = <reduce>(<thing>.<attr> for <thing> in members)\n"
        "    return <res>"}},
      {"reduce", {"sum | max | min"}},
      {"increment",
       {"counts[key] = counts.get(key, 0) + 1",
        "if key not in counts:\n    counts[key] = 0\ncounts[key] += 1",
        "counts.setdefault(key, 0)\ncounts[key] += <thing>.<attr>"}},
      {"guard_counts",
       {"if not counts:\n    return []", "if not counts:\n    raise <error>(\"<message>\")"}},
      {"class",
       {"class <Thing>:\n"
        "    def __init__(self, <label>, <attr>=<number>):\n"
        "        self.<label> = <label>\n"
        "        self.<attr> = <attr>\n\n"
        "    def <method>_<attr>(self, amount):\n"
        "        if amount < 0:\n"
        "            raise <error>(\"<message>\")\n"
        "        self.<attr> <op>= amount\n"
        "        return self.<attr>\n\n"
        "    def __repr__(self):\n"
        "        return f\"<Thing>({self.<label>}, {self.<attr>})\"\n\n\n"
        "<thing> = <Thing>(\"<other>\")\n"
        "assert <thing>.<attr> == <number>",
        "class <Thing>Queue:\n"
        "    def __init__(self, capacity=<size>):\n"
        "        self.capacity = capacity\n"
        "        self.<s thing> = []\n\n"
        "    def push(self, <thing>):\n"
        "        if len(self.<s thing>) >= self.capacity:\n"
        "            return False\n"
        "        self.<s thing>.append(<thing>)\n"
        "        return True\n\n"
        "    def pop(self):\n"
        "        if not self.<s thing>:\n"
        "            <empty>\n"
        "        return self.<s thing>.pop(<end>)\n\n"
        "    def total_<attr>(self):\n"
        "        return sum(<thing>.<attr> for <thing> in self.<s thing>)"}},
      {"method", {"raise | add | change | adjust | update"}},
      {"op", {"+ | - | *"}},
      {"empty", {"return None | raise IndexError(\"no <s thing> left\")"}},
      {"end", {"0 | -1"}},
      {"read_file",
       {"import <module>\n\n\n"
        "def <verb>_<s thing>(path, <limit_var>=<number>):\n"
        "    \"\"\"Read <s thing> from a file, at most <limit_var> of them.\"\"\"\n"
        "    <res> = []\n"
        "    with open(path, encoding=\"utf-8\") as handle:\n"
        "        for <ind>, line in enumerate(handle):\n"
        "            if <ind> >= <limit_var>:\n"
        "                break\n"
        "            <parse>\n"
        "    return <res>\n\n\n"
        "def save_<s thing>(path, <s thing>):\n"
        "    with open(path, \"w\", encoding=\"utf-8\") as handle:\n"
        "        for <thing> in <s thing>:\n"
        "            handle.write(<module>.dumps(<thing>) + \"\\n\")"}},
      {"module_name", {"json | yaml | codec | storage"}},
      {"parse",
       {"try:\n    <res>.append(<module>.loads(line))\nexcept ValueError:\n    continue",
        "line = line.strip()\nif line:\n    <res>.append(<module>.loads(line))",
        "<thing> = <module>.loads(line)\nif <thing>[\"<attr>\"] > <limit>:\n"
        "    <res>.append(<thing>)"}},
      {"recursion",
       {"def <attr>_of(<thing>, depth=0):\n"
        "    \"\"\"Add up the <attr> of <a thing> and all its children.\"\"\"\n"
        "    if <thing> is None or depth > <size>:\n"
        "        return 0\n"
        "    <acc> = <thing>.<attr>\n"
        "    for child in <thing>.children:\n"
        "        <acc> += <attr>_of(child, depth + 1)\n"
        "    return <acc>\n\n\n"
        "def find_<thing>(<thing>, <label>):\n"
        "    if <thing>.<label> == <label>:\n"
        "        return <thing>\n"
        "    for child in <thing>.children:\n"
        "        match = find_<thing>(child, <label>)\n"
        "        if match is not None:\n"
        "            return match\n"
        "    return None"}},
      {"matrix",
       {"def <attr>_matrix(rows, columns, fill=<number>):\n"
        "    matrix = []\n"
        "    for _ in range(rows):\n"
        "        matrix.append([fill] * columns)\n"
        "    return matrix\n\n\n"
        "def <verb>_<s attr>(matrix, <limit_var>=<limit>):\n"
        "    <guard_matrix>\n"
        "    <acc> = 0\n"
        "    for row in matrix:\n"
        "        for <attr> in row:\n"
        "            if <attr> > <limit_var>:\n"
        "                <acc> += <attr>\n"
        "    return <acc>\n\n\n"
        "assert len(<attr>_matrix(<factor>, <size>)) == <factor>"}},
      {"guard_matrix",
       {"if not matrix:\n    return 0", "if not matrix:\n    raise <error>(\"empty matrix\")"}},
      {"cache",
       {"_<thing>_cache = {}\n\n\n"
        "def <verb>_<thing>(<label>, loader):\n"
        "    \"\"\"Return the <thing> for this <label>, from the cache if possible.\"\"\"\n"
        "    if <label> in _<thing>_cache:\n"
        "        return _<thing>_cache[<label>]\n"
        "    <thing> = loader(<label>)\n"
        "    if <thing> is None:\n"
        "        raise KeyError(<label>)\n"
        "    <evict>\n"
        "    _<thing>_cache[<label>] = <thing>\n"
        "    return <thing>\n\n\n"
        "def forget_<thing>(<label>):\n"
        "    return _<thing>_cache.pop(<label>, None)"}},
      {"evict",
       {"if len(_<thing>_cache) > <size>:\n    _<thing>_cache.clear()",
        "while len(_<thing>_cache) >= <size>:\n"
        "    _<thing>_cache.pop(next(iter(_<thing>_cache)))"}},
      {"generator",
       {"def batches(<s thing>, size=<size>):\n"
        "    \"\"\"Yield lists of at most size <s thing>.\"\"\"\n"
        "    <res> = []\n"
        "    for <thing> in <s thing>:\n"
        "        <res>.append(<thing>)\n"
        "        if len(<res>) == size:\n"
        "            yield <res>\n"
        "            <res> = []\n"
        "    if <res>:\n"
        "        yield <res>\n\n\n"
        "def <verb>_<s thing>(<s thing>, <limit_var>=<limit>):\n"
        "    for <ind>, batch in enumerate(batches(<s thing>)):\n"
        "        if <ind> >= <limit_var>:\n"
        "            return\n"
        "        yield from (<thing>.<attr> for <thing> in batch)"}},
  };
}

}  // namespace moebius::synth

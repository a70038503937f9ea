#!/usr/bin/env bash
# Runs the fuzz targets of build/asan, two side by side. What crashes, leaks, hangs or eats memory
# is saved in build/fuzz/finds and named; the corpus that grows lies in build/fuzz/corpus.
# usage: scripts/fuzz.sh [TARGET...]      FUZZ_SECONDS=30 for each, FUZZ_RUNS=N to end after N
# inputs, FUZZ_SEED=1 (0: another one each time)
set -euo pipefail
cd "$(dirname "$0")/.."

# A find is what takes longer, in seconds of a sanitized build on a busy machine, or more memory:
# inputs have at most 8 KB, so an honest reader needs milliseconds and a few MB.
timeout=10 memory_mb=1024 longest=8192
finds=build/fuzz/finds
mkdir -p $finds

fuzz() {
  local target=$1 corpus=build/fuzz/corpus/$1 log=build/fuzz/$1.log
  mkdir -p "$corpus"
  # The seeds' words are what inputs are put together from.
  grep -rohaE '[A-Za-z_]{3,40}' tests/fuzz/seeds/"$target" | LC_ALL=C sort -u | sed 's/.*/"&"/' >build/fuzz/"$target".dict
  local limits=(-max_total_time="${FUZZ_SECONDS:-30}" -seed="${FUZZ_SEED:-1}")
  [ -z "${FUZZ_RUNS:-}" ] || limits+=(-runs="$FUZZ_RUNS")
  if ASAN_OPTIONS=quarantine_size_mb=16 build/asan/tests/fuzz/fuzz_"$target" "${limits[@]}" \
    -timeout=$timeout -rss_limit_mb=$memory_mb -max_len=$longest -print_final_stats=1 -print_funcs=0 \
    -dict=build/fuzz/"$target".dict -artifact_prefix="$finds/$target-" "$corpus" tests/fuzz/seeds/"$target" >"$log" 2>&1; then
    echo "fuzz: $target: $(sed -n 's/^Done //p' "$log")"
  else
    grep -vE '^#[0-9]+.*(NEW|REDUCE|pulse)' "$log" | tail -n 60
    echo "fuzz: $target: FOUND something, see above; again with:"
    echo "  build/asan/tests/fuzz/fuzz_$target $(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)"
    return 1
  fi
}
export -f fuzz
export timeout memory_mb longest finds

if [ $# -eq 0 ]; then
  for source in tests/fuzz/*.cpp; do set -- "$@" "$(basename "$source" .cpp)"; done
fi
printf '%s\n' "$@" | xargs -P 2 -I{} bash -euo pipefail -c 'fuzz {}'

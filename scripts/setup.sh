#!/usr/bin/env bash
# Installs what moebius is built from: Debian/Ubuntu packages, and LibTorch from its Python wheel
# into .venv. Idempotent: says what it does, does only what is missing, needs no network after that.
# usage: scripts/setup.sh [--tests|--clang]    --tests adds the peers that the tests compare with,
#                                              --clang the compiler of `make asan` and `make fuzz`
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }

packages=(g++ cmake ninja-build ccache mold make git pkg-config python3 python3-venv python3-dev
  libcli11-dev nlohmann-json3-dev libyaml-cpp-dev libpcre2-dev libutf8proc-dev libxxhash-dev
  libcurl4-openssl-dev libssl-dev ca-certificates libsentencepiece-dev
  libfmt-dev libgtest-dev clang-format)

# Installs those of the packages that are missing.
install_packages() {
  local package status missing=() install sudo
  for package in "$@"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "packages are there"
    return
  fi
  install=(apt-get install -y --no-install-recommends "${missing[@]}")
  if [ "$(id -u)" = 0 ]; then
    sudo=()
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo=(sudo -n)
  else
    say "these packages are missing; as root, run this line, then the same command again:"
    echo "  apt-get update && ${install[*]}"
    exit 1
  fi
  say "installing packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null
}

if [ "${1:-}" = --clang ]; then
  install_packages "${packages[@]}" clang
  clang_version=$(clang++ -dumpversion)
  install_packages "libclang-rt-${clang_version%%.*}-dev"
  exit
fi
install_packages "${packages[@]}"

if [ ! -x .venv/bin/python ]; then
  say "making .venv"
  python3 -m venv .venv
fi

# Installs a requirements file once; what was installed is remembered. More arguments go to pip.
install_requirements() {
  local file=$1 mark=.venv/.installed-$(basename "$1")
  shift
  if [ -f "$mark" ] && cmp -s "$file" "$mark"; then
    say "$file is installed"
    return
  fi
  say "installing $file (pip's configured indexes are used)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$file" "$@"
  cp "$file" "$mark"
}

# A LibTorch that CMAKE_PREFIX_PATH names makes the wheel unnecessary.
if [ -n "${CMAKE_PREFIX_PATH:-}" ]; then
  say "LibTorch is looked for in CMAKE_PREFIX_PATH=$CMAKE_PREFIX_PATH"
else
  install_requirements scripts/requirements.txt
fi
if [ "${1:-}" = --tests ]; then
  install_packages qemu-user  # runs the kernels as an older processor would
  install_requirements scripts/requirements-tests.txt
  # The generation before, in a folder of its own: converted models must open there too.
  install_requirements scripts/requirements-tests-4.txt --no-deps --target .venv/transformers-4
  # llama.cpp, which opens what `export` writes, and its Python package for GGUF files.
  install_requirements scripts/requirements-tests-llama.txt --no-deps --target .venv/llama-cpp
fi

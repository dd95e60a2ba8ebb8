# Shared by the scripts here; sourced, not run. Expects `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# How the daemon is built to be run. Exclusivity is checked by the compiler where it can be, and at run time in the
# tests' debug build; leaving the run-time checks out here saves a tenth of the daemon's processor time for each check.
release_flags=(-c release --static-swift-stdlib -Xswiftc -enforce-exclusivity=unchecked)

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Installs what is missing, with nothing done by hand.
set_up() {
    command -v swift >/dev/null ||
        fail "cannot build: Swift is missing. Install Swift 6.2 or later from https://www.swift.org/install/linux/ and call this again."
    local missing=()
    command -v redis-server >/dev/null || missing+=(redis-server)
    # For networks of the tests' own.
    command -v ip >/dev/null || [ -e /usr/sbin/ip ] || missing+=(iproute2)
    command -v redis-cli >/dev/null || missing+=(redis-tools)
    command -v openssl >/dev/null || missing+=(openssl)
    [ -e /usr/include/hiredis/hiredis.h ] || missing+=(libhiredis-dev)
    [ -e /usr/include/yaml.h ] || missing+=(libyaml-dev)
    [ -e /usr/include/sodium.h ] || missing+=(libsodium-dev)
    # The rules of time zones.
    [ -e /usr/share/zoneinfo/Europe/Berlin ] || missing+=(tzdata)
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || fail "cannot install ${missing[*]}: this needs Debian's apt-get"
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Builds products for release; the compiler's output is shown on a terminal, and in a pipe only where it fails.
build_release() {
    local product
    for product in "$@"; do
        say "building $product for release (a first build takes some minutes)"
        if [ -t 2 ]; then
            swift build "${release_flags[@]}" --product "$product" >&2
        else
            local log
            log=$(mktemp)
            swift build "${release_flags[@]}" --product "$product" >"$log" 2>&1 || {
                cat "$log" >&2
                rm -f "$log"
                fail "cannot build $product"
            }
            rm -f "$log"
        fi
    done
    binaries=$(swift build "${release_flags[@]}" --show-bin-path)
}

# Shared by the scripts here; sourced, not run. Expects `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$(realpath "$0")
cd "$root"

# How the daemon is built to be run. Exclusivity is checked by the compiler where it can be, and at run time in the
# tests' debug build; leaving the run-time checks out here saves a tenth of the daemon's processor time for each check.
release_flags=(-c release --static-swift-stdlib -Xswiftc -enforce-exclusivity=unchecked)

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Prints what a script says of itself at its top, where --help or -h is among its arguments: show_help "$@"
show_help() {
    local argument
    for argument in "$@"; do
        [[ $argument == --help || $argument == -h ]] || continue
        sed -n "2,/^[^#]/ s/^# \\{0,1\\}//p" "$script"
        exit
    done
}

# Refuses what is not accepted before anything takes long. A value is a number (N), one of several (a|b), or any text:
# accept [OPTION|"OPTION VALUE"]… -- "$@"
accept() {
    local known=() said entry value found
    while [ "$1" != -- ]; do
        known+=("$1")
        shift
    done
    shift
    printf -v said '%s, ' "${known[@]+"${known[@]}"}" --help
    said=${said%, }
    while [ $# -gt 0 ]; do
        found=
        for entry in "${known[@]+"${known[@]}"}"; do [ "${entry%% *}" != "$1" ] || found=$entry; done
        [ -n "$found" ] || fail "cannot use $1: accepted $([[ $said == *,* ]] && echo are || echo is) $said"
        if [[ $found == *" "* ]]; then
            value=${found#* }
            case $value in
                N) [[ ${2-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "cannot use $1 \"${2-}\": accepted is a number" ;;
                *"|"*) [[ -n ${2-} && "|$value|" == *"|$2|"* ]] || fail "cannot use $1 \"${2-}\": accepted are ${value//|/, }" ;;
                *) [ -n "${2-}" ] || fail "cannot use $1 without a value: accepted is $found" ;;
            esac
            shift
        fi
        shift
    done
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
    # Against it the tests hold what is read and written of gRPC.
    command -v protoc >/dev/null || missing+=(protobuf-compiler)
    [ -e /usr/include/hiredis/hiredis.h ] || missing+=(libhiredis-dev)
    [ -e /usr/include/yaml.h ] || missing+=(libyaml-dev)
    [ -e /usr/include/sodium.h ] || missing+=(libsodium-dev)
    [ -e /usr/include/nghttp2/nghttp2.h ] || missing+=(libnghttp2-dev)
    # The rules of time zones.
    [ -e /usr/share/zoneinfo/Europe/Berlin ] || missing+=(tzdata)
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# Installs packages of Debian's.
install_packages() {
    command -v apt-get >/dev/null || fail "cannot install $*: this needs Debian's apt-get"
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    say "installing $*"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Runs a command that takes long. On a terminal it shows itself; in a pipe a line a minute says how far it is, such as
# "building: 612 of 1,357, 2 min", and what it wrote to its standard error is shown where it fails.
#
#   watched WHAT HOW COMMAND…     HOW is given a file of what was written so far, and prints how far that is
watched() {
    local what=$1 how=$2 log ticker status=0
    shift 2
    if [ -t 2 ]; then
        "$@"
        return
    fi
    log=$(mktemp)
    tick "$what" "$how" "$log" &
    ticker=$!
    SHOW_PROGRESS=1 "$@" 2>"$log" || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    # Without the lines that were written over.
    [ "$status" -eq 0 ] || sed 's/.*\r.\[K//' "$log" >&2
    rm -f "$log"
    return "$status"
}

# How long nothing is said.
progress_seconds=60

tick() {
    local what=$1 how=$2 log=$3 started=$SECONDS far sleeper=
    trap '[ -z "$sleeper" ] || kill "$sleeper"; exit' INT TERM
    while true; do
        # The one that sleeps must not keep the pipe open when all is over, nor stay.
        sleep "$progress_seconds" <&- >/dev/null 2>&1 &
        sleeper=$!
        wait "$sleeper" && kill -0 $$ 2>/dev/null || break
        far=$("$how" "$log")
        say "$what: ${far:+$far, }$(((SECONDS - started) / 60)) min"
    done
}

# What swift build has done: "612 of 1,357".
steps_built() {
    local step
    step=$(grep -aoE '^\[[0-9]+/[0-9]+\]' "$1" | tail -n 1 | tr -d '[]') || true
    # A comma between thousands, whatever the locale.
    [ -z "$step" ] || echo "${step%/*} of ${step#*/}" | sed -E ':a; s/([0-9])([0-9]{3})\b/\1,\2/; ta'
}

# What a program has last shown of itself.
last_shown() { tr '\r' '\n' <"$1" | sed 's/^.\[K//' | grep -a . | tail -n 1 || true; }

# How many tests have passed.
tests_passed() { printf '%s tests passed' "$(grep -acE '^(.\[[0-9]+m)?✔.* Test ' "$1" || true)"; }

swift_build() { swift build "$@" >&2; }

# Builds products for release.
build_release() {
    local product
    for product in "$@"; do
        say "building $product for release (a first build takes some minutes)"
        watched "building $product" steps_built swift_build "${release_flags[@]}" --product "$product" ||
            fail "cannot build $product"
    done
    binaries=$(swift build "${release_flags[@]}" --show-bin-path)
}

# Installs the packages of commands that are missing: require_commands dh:debhelper rpmbuild:rpm
require_commands() {
    local wanted missing=()
    for wanted in "$@"; do
        command -v "${wanted%%:*}" >/dev/null || missing+=("${wanted#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

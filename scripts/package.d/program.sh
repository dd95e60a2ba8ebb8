# The program with all that it can carry linked in; sourced by scripts/package.

# Libraries of which the static archive is linked: found before the shared ones, since their folder is searched first.
static_libraries=(gcc_eh hiredis nghttp2 sodium stdc++ yaml)

# Linked by lld, which knows relative relocations: with them, and without the names of functions that nobody looks up,
# the program is an eighth smaller. glibc knows them from 2.36 on. What the loader fills in is read-only from the start.
package_flags=(
    -Xswiftc -use-ld=lld -Xlinker -z -Xlinker pack-relative-relocs -Xlinker -z -Xlinker now -Xlinker --no-export-dynamic
    -Xlinker -lgcc_eh
)

# Builds the program, apart from other builds, and strips it into $folder/llm-rate-limit.
build_program() {
    local archives=$folder/archives library
    mkdir -p "$archives"
    for library in "${static_libraries[@]}"; do
        ln -sf "$(archive_of "$library")" "$archives/lib$library.a"
    done
    release_flags+=("${package_flags[@]}" -Xlinker "-L$archives" --scratch-path "$folder/build")
    build_release llm-rate-limit
    strip --strip-all --remove-section=.comment -o "$folder/llm-rate-limit" "$binaries/llm-rate-limit"
}

# Where the static archive of a library stands.
archive_of() {
    local archive
    archive=$(clang -print-file-name="lib$1.a")
    [ -e "$archive" ] || fail "cannot link $1: its static library lib$1.a is missing"
    echo "$archive"
}

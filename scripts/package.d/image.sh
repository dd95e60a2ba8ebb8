# The container image; sourced by scripts/package.

# Builds it with buildah, without a daemon and without rights, into an archive that docker and podman load.
pack_image() {
    local context=$folder/image archive=$out/llm-rate-limit-$version-image.tar storage=() labels=()
    require_commands buildah:buildah
    [ -e /etc/ssl/certs/ca-certificates.crt ] || install_packages ca-certificates
    rm -rf "$context" "$archive"
    lay_out_image "$context"
    cp deploy/image/Containerfile "$context/"
    # buildah's own label would change the image with buildah's version.
    labels=(
        --identity-label=false --label org.opencontainers.image.title=llm-rate-limit
        --label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$(source_revision)"
    )
    storage=(--root "$folder/containers" --runroot "$folder/containers-run" --storage-driver vfs)
    # docker is the format that knows HEALTHCHECK.
    buildah "${storage[@]}" bud --quiet --isolation chroot --format docker --timestamp "$SOURCE_DATE_EPOCH" \
        "${labels[@]}" --tag "llm-rate-limit:$version" "$context" >"$context/log" 2>&1 &&
        buildah "${storage[@]}" push --quiet "llm-rate-limit:$version" "docker-archive:$context/archive" \
            >>"$context/log" 2>&1 || { cat "$context/log" >&2 && fail "cannot build the image"; }
    scripts/package.d/repeatable "llm-rate-limit:$version" <"$context/archive" >"$archive"
    buildah "${storage[@]}" rmi --all --force >/dev/null
}

# The commit that is built, and whether files differ from it.
source_revision() { git describe --always --abbrev=40 --exclude='*' --dirty; }

# The program with the libraries that it needs, at the paths where the loader looks for them, under root; and sockets,
# which becomes their folder.
lay_out_image() {
    local to=$1/root library
    # Threads end by glibc's pthread_exit, which loads libgcc_s by itself: ldd does not tell.
    { ldd "$folder/llm-rate-limit" | grep -oE '/[^ ]+' && clang -print-file-name=libgcc_s.so.1; } | sort -u |
        while read -r library; do
            install -D -m 0755 "$(readlink -f "$library")" "$to$library"
        done
    install -D -m 0755 "$folder/llm-rate-limit" "$to/usr/bin/llm-rate-limit"
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$to/etc/ssl/certs/ca-certificates.crt"
    lay_out_zones "$to/usr/share/zoneinfo"
    printf 'llm-rate-limit:x:65532:65532::/:/sbin/nologin\n' | install -D -m 0644 /dev/stdin "$to/etc/passwd"
    printf 'llm-rate-limit:x:65532:\n' | install -D -m 0644 /dev/stdin "$to/etc/group"
    # Without it glibc asks DNS first, and /etc/hosts only where there is no DNS.
    printf 'hosts: files dns\n' | install -D -m 0644 /dev/stdin "$to/etc/nsswitch.conf"
    mkdir "$to/run" "$1/sockets"
    find "$to" "$1/sockets" -type d -exec chmod 0755 {} +
    find "$to" "$1/sockets" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# The rules of time zones; neither lists of their names nor this machine's own zone.
lay_out_zones() {
    local from=/usr/share/zoneinfo zone
    ( cd "$from" && find -L [A-Z]* -type f ) | while read -r zone; do
        [ "$(head -c 4 "$from/$zone")" != TZif ] || install -D -m 0644 "$from/$zone" "$1/$zone"
    done
}

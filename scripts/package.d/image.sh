# The container image; sourced by scripts/package.

# Builds it with buildah, without a daemon and without rights, into an OCI archive.
pack_image() {
    local context=$folder/image archive=$out/llm-rate-limit-$version-image.tar storage=()
    require_commands buildah:buildah
    [ -e /etc/ssl/certs/ca-certificates.crt ] || install_packages ca-certificates
    rm -rf "$context" "$archive"
    lay_out_image "$context/root"
    cp deploy/image/Containerfile "$context/"
    storage=(--root "$folder/containers" --runroot "$folder/containers-run" --storage-driver vfs)
    # docker is the format that knows HEALTHCHECK.
    buildah "${storage[@]}" bud --quiet --isolation chroot --format docker --timestamp "$SOURCE_DATE_EPOCH" \
        --tag "llm-rate-limit:$version" "$context" >"$context/log" 2>&1 &&
        buildah "${storage[@]}" push --quiet "llm-rate-limit:$version" \
            "docker-archive:$archive:llm-rate-limit:$version" >>"$context/log" 2>&1 ||
        { cat "$context/log" >&2 && fail "cannot build the image"; }
    buildah "${storage[@]}" rmi --all --force >/dev/null
}

# The program with the libraries that it needs, at the paths where the loader looks for them.
lay_out_image() {
    local to=$1 library
    install -D -m 0755 "$folder/llm-rate-limit" "$to/usr/bin/llm-rate-limit"
    ldd "$folder/llm-rate-limit" | grep -oE '/[^ ]+' | sort -u | while read -r library; do
        install -D -m 0755 "$(readlink -f "$library")" "$to$library"
    done
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$to/etc/ssl/certs/ca-certificates.crt"
    mkdir -p "$to/usr/share"
    cp -rL /usr/share/zoneinfo "$to/usr/share/zoneinfo"
    rm -rf "$to/usr/share/zoneinfo/"{posix,right}
    install -d -m 0777 "$to/run/llm-rate-limit"
    printf 'llm-rate-limit:x:65532:65532::/:/sbin/nologin\n' | install -D -m 0644 /dev/stdin "$to/etc/passwd"
    printf 'llm-rate-limit:x:65532:\n' | install -D -m 0644 /dev/stdin "$to/etc/group"
    find "$to" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# The tarball; sourced by scripts/package.

# Packs the files under one folder, owned by root.
pack_tarball() {
    local name=llm-rate-limit-$version-linux-$architecture
    tar --create --directory="$folder/root" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@$SOURCE_DATE_EPOCH" --transform="s,^\.,$name," . | xz -6 --threads=1 >"$out/$name.tar.xz"
}

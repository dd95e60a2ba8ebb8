# The Debian package; sourced by scripts/package.

# Builds it from the files with debhelper, outside of the tree.
pack_deb() {
    local to=$folder/deb/llm-rate-limit-$version
    require_commands dpkg-buildpackage:dpkg-dev dh:debhelper
    rm -rf "$folder/deb"
    mkdir -p "$to"
    cp -a deploy/debian "$to/debian"
    cp -a "$folder/root" "$to/root"
    cp -a "$folder/root/usr/lib/systemd/system/"llm-rate-limit.* "$to/debian/"
    cp -a "$folder/root/usr/lib/sysusers.d/llm-rate-limit.conf" "$to/debian/llm-rate-limit.sysusers"
    cat >"$to/debian/changelog" <<END
llm-rate-limit ($version-$revision) stable; urgency=medium

  * What changed is told in the page Changelog.

 -- llm-rate-limit <maintainers@llm-rate-limit.invalid>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
    ( cd "$to" && dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes ) >"$folder/deb/log" 2>&1 ||
        { cat "$folder/deb/log" >&2 && fail "cannot build the Debian package"; }
    mv "$folder/deb/"llm-rate-limit_*.deb "$out/"
}

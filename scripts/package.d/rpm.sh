# The RPM; sourced by scripts/package.

# Packs the same files; rpm's clock and host are told, so that it is the same twice.
pack_rpm() {
    local to=$folder/rpm
    require_commands rpmbuild:rpm
    rm -rf "$to"
    mkdir -p "$to"
    rpmbuild -bb --define "_topdir $to" --define "given_version $version" --define "given_revision $revision" \
        --define "given_files $folder/root" \
        --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
        --define "_buildhost localhost" deploy/rpm/llm-rate-limit.spec >"$to/log" 2>&1 ||
        { cat "$to/log" >&2 && fail "cannot build the RPM"; }
    mv "$to"/RPMS/*/llm-rate-limit-*.rpm "$out/"
}

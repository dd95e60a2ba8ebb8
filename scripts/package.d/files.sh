# What every package holds, laid out as it is installed; sourced by scripts/package.

# Lays the files out under $folder/root.
lay_out_files() {
    local to=$folder/root share name=llm-rate-limit
    share=$to/usr/share
    rm -rf "$to"
    install -D -m 0755 "$folder/$name" "$to/usr/bin/$name"
    install -D -m 0644 deploy/$name.socket "$to/usr/lib/systemd/system/$name.socket"
    install_unit deploy/$name.service "$to/usr/lib/systemd/system/$name.service"
    install -D -m 0644 deploy/$name.sysusers.conf "$to/usr/lib/sysusers.d/$name.conf"
    install -D -m 0640 deploy/$name.env "$to/etc/$name/$name.env"
    lay_out_manual "$share/man"
    lay_out_completions "$share"
    lay_out_examples "$share/doc/$name"
    find "$to" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# A unit as a package has it: the program in /usr/bin, and nothing about installing by hand.
install_unit() {
    install -D -m 0644 /dev/null "$2"
    sed -e '1,/^\[Unit\]$/{/^\[Unit\]$/!d}' -e 's,/usr/local/bin/,/usr/bin/,' "$1" >"$2"
}

lay_out_manual() {
    local page
    install -d "$1/man1" "$1/man5" "$1/man7"
    "$folder/llm-rate-limit" --experimental-dump-help | scripts/package.d/manual commands "$version" >"$1/man1/llm-rate-limit.1"
    install -m 0644 deploy/man/llm-rate-limit.5 "$1/man5/llm-rate-limit.5"
    env -i "$folder/llm-rate-limit" config --json | scripts/package.d/manual environment "$version" >"$1/man7/llm-rate-limit.7"
    for page in "$1"/man?/*; do gzip --no-name --best "$page"; done
}

lay_out_completions() {
    local program=$folder/llm-rate-limit
    install -d "$1/bash-completion/completions" "$1/zsh/vendor-completions" "$1/fish/vendor_completions.d"
    # It is sourced, not run.
    "$program" --generate-completion-script bash | sed '1{/^#!/d}' >"$1/bash-completion/completions/llm-rate-limit"
    "$program" --generate-completion-script zsh >"$1/zsh/vendor-completions/_llm-rate-limit"
    "$program" --generate-completion-script fish >"$1/fish/vendor_completions.d/llm-rate-limit.fish"
}

# The files for gateways and monitoring, and what the program is made of.
lay_out_examples() {
    local file
    install -d "$1"
    git ls-files deploy/{caddy,compose,envoy,haproxy,litellm,monitoring,nginx,open-webui,traefik} |
        while read -r file; do install -D -m 0644 "$file" "$1/examples/${file#deploy/}"; done
    install -m 0644 README.md "$1/README.md"
    swift package show-dependencies --format json 2>/dev/null |
        scripts/package.d/sbom "$version" "$folder/llm-rate-limit" >"$1/sbom.cdx.json"
}
